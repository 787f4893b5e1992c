//! The instructions that a stock assembler does not know, each once: `instructions!` makes of a table what `asm!` takes them by,
//! and the macros of the same names for assembly files.

/// A row is a name, its operands, and a line of assembly, in which these stand between the strings. Before the first row stands
/// the dollar that operands get in what is made of the table.
macro_rules! instructions {
    ($d:tt $($name:ident $($operand:ident),*: $first:literal $($used:ident $($rest:literal)?)*;)*) => {
        /// The line of an instruction of the table, with its operands as text or numbers.
        macro_rules! instruction {
            $(($name $($d $operand:literal),*) => { concat!($first $(, $d $used $(, $rest)?)*) };)*
        }

        /// The table for assembly files. The guard makes that a unit has it once even when link-time optimisation joins units.
        #[macro_export]
        macro_rules! instruction_macros {
            () => {
                concat!(
                    ".ifndef INTRAVISOR_TABLE\n.set INTRAVISOR_TABLE, 1\n",
                    $(".macro ", stringify!($name), $(" ", stringify!($operand),)* "\n",
                        $first, $("\\", stringify!($used), $($rest,)?)* "\n.endm\n",)*
                    ".endif\n"
                )
            };
        }
    };
}
