#!/bin/sh
# embed.sh FILE... - writes the C file that holds the Lua files in the binary: one .incbin each, and the table bind_files.
set -eu
echo '#include "bind/bind.h"'
n=0
for f in "$@"; do
    n=$((n + 1))
    printf '__asm__(".section .rodata\\nembed_%d: .incbin \\"%s\\"\\nembed_%d_end: .byte 0\\n.previous\\n");\n' "$n" "$f" "$n"
    printf 'extern const char embed_%d[], embed_%d_end[];\n' "$n" "$n"
done
echo 'const struct bind_file bind_files[] = {'
n=0
for f in "$@"; do
    n=$((n + 1))
    name=${f#runtime/}
    name=${name%.lua}
    case $name in
        meta/*) ;;
        plugins/*/meta/*) name=meta/${name##*/} ;;
        lua/garun/*) name=$(echo "${name#lua/}" | tr / .) ;;
        lua/command/*) name=garun.$(echo "${name#lua/}" | tr / .) ;;
    esac
    printf '    { "%s", embed_%d, embed_%d_end },\n' "$name" "$n" "$n"
done
echo '    { 0, 0, 0 }'
echo '};'
