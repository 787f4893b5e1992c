// Objects by which programs are made of relocations, the same on both architectures.

// Says that the program is purecap: the tools set the ELF flags of a file with this section.
    .pushsection .purecap, "", @progbits
    .byte 1
    .popsection

// A text, and a slot of the same name for the constant capability over it.
.macro text name, value
    .pushsection .rodata.purecap, "a", @progbits
text_\name\():
    .ascii "\value"
end_text_\name\():
    .popsection
    constant_pointer \name, text_\name, end_text_\name - text_\name
.endm

// A zeroed object of so many bytes, and a slot of the same name.
.macro object name, size
    .pushsection .bss.purecap, "aw", @nobits
    .balign 16
object_\name\():
    .zero \size
    .popsection
    data_pointer \name, object_\name, \size
.endm

// An entry of the table of commands: its name, and the function that carries it out.
.macro command name, function
    .pushsection .rodata.purecap, "a", @progbits
.Lcommand\@:
    .ascii "\name"
.Lend_command\@:
    .popsection
    constant_pointer command_name_\function, .Lcommand\@, .Lend_command\@ - .Lcommand\@, 0, commands
    function_pointer command_\function, \function, commands
.endm
