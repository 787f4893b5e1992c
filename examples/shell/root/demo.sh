# Every command is a program of its own, in a cVM of its own.
for name in cat grep printf seq sort tr uname wc; do busybox ln -s busybox /bin/$name; done

seq 1 20 | grep 1 | tr '\n' ' ' | cat
echo
printf 'pear\nfig\napple\n' | sort | tr a-z A-Z > /tmp/sorted
cat /tmp/sorted
echo "$(wc -l < /tmp/sorted) lines on $(uname -s)"
grep -q KIWI /tmp/sorted || echo "no kiwi: status $?"
dash -c 'x=6; echo "dash: $((x * 7))"; wc -c < /tmp/sorted; exit 5'
echo "dash has ended with $?"
