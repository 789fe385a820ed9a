#!/bin/sh
# lint.sh: `make lint`. Everything that can be said about the sources without running them; one finding fails it.
#
#   tests/lint.sh [STEP ...]    steps: gcc tidy cppcheck lua shell python tree; all of them without arguments
#
# A clean step prints one line. The build goes into a directory of its own (build/lint) and is incremental.
set -u
cd "$(dirname "$0")/.." || exit 2
jobs=$(getconf _NPROCESSORS_ONLN)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
failed=

packages="lua5.4 libuv libpq libcrypto uuid zlib libxxhash libzip expat xlsxwriter"
# shellcheck disable=SC2086 # lists of words
includes=$(pkg-config --cflags $packages 2>/dev/null)

# All files of the checkout, committed or not, but no ignored ones; without git all but what a build makes.
files() {
    git ls-files -co --exclude-standard 2>/dev/null ||
        find . -path ./build -prune -o -path ./var -prune -o -path ./.git -prune -o -type f -print | sed 's|^\./||'
}
files | while read -r f; do [ -f "$f" ] && echo "$f"; done | sort >"$work/files"

# step NAME COMMAND...: runs it, tells how it went, shows what it printed when it failed.
step() {
    name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok      $name"
    else
        echo "FAILED  $name"
        sed 's/^/    /' "$work/out"
        failed="$failed $name"
    fi
}

# Warnings as errors, optimised: some of them (null dereference, array bounds) need the optimiser to see anything.
lint_gcc() {
    make -s -j"$jobs" BUILD=build/lint WERROR=-Werror
}

lint_tidy() {
    # shellcheck disable=SC2016 # the inner shell expands them
    grep -E '^(runtime|plugins)/.*\.c$' "$work/files" |
        FLAGS="-std=c11 -D_GNU_SOURCE -Iruntime -Iplugins $includes" \
            xargs -P "$jobs" -n 4 sh -c 'clang-tidy --quiet "$@" -- $FLAGS 2>/dev/null' sh
}

# clang-tidy follows paths through one file; cppcheck looks at values and at C++.
lint_cppcheck() {
    # shellcheck disable=SC2046 # a list of files
    cppcheck --quiet -j "$jobs" --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --std=c11 --std=c++17 -Iruntime -Iplugins -D_GNU_SOURCE -D__x86_64__ --suppress=missingInclude \
        --suppress=unmatchedSuppression --template='{file}:{line}: {id}: {message}' \
        $(grep -E '^(runtime|plugins)/.*\.(c|cc)$' "$work/files")
}

# luacheck 1.1 does not know <close>: a variable that is there for what happens at the block's end is no unused one.
lint_lua() {
    grep -E '(\.lua|^\.luacheckrc)$' "$work/files" | grep -v '^\.luacheckrc$' |
        xargs luacheck --no-color --codes --formatter plain >"$work/luacheck"
    awk -F: '
        /W211/ {
            for (n = 1; n <= $2; n++) if ((getline text < $1) <= 0) break
            close($1)
            match($0, /variable .[A-Za-z_0-9]+/)
            name = substr($0, RSTART + 10, RLENGTH - 10)
            if (text ~ ("[^A-Za-z_0-9]" name " *<close>")) next
        }
        { print; bad = 1 }
        END { exit bad }
    ' "$work/luacheck"
}

lint_shell() {
    while read -r f; do
        case $f in
            *.sh) echo "$f" ;;
            *) head -c 64 "$f" | head -n 1 | grep -qE '^#!.*[/ ](ba|da)?sh( |$)' && echo "$f" ;;
        esac
    done <"$work/files" | xargs shellcheck
}

lint_python() {
    grep '\.py$' "$work/files" | xargs -r /usr/bin/python3 -c '
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)
'
}

# House rules that no tool knows.
lint_tree() {
    bad=0
    # The tree stands alone: nothing outside it is named, but by tests that skip without it; no path of this machine.
    if grep -vE '^(tests/|\.ci/)' "$work/files" | xargs grep -nE '\.\./shared' /dev/null; then
        echo "^ names something outside the project"
        bad=1
    fi
    if xargs grep -nF "$(pwd)/" /dev/null <"$work/files"; then
        echo "^ names this machine's paths"
        bad=1
    fi
    # One file, one idea.
    while read -r f; do
        case $f in
            *.c | *.h | *.cc | *.lua | *.sh | *.py | *.sql)
                lines=$(wc -l <"$f")
                if [ "$lines" -gt 800 ]; then
                    echo "$f: $lines lines, 800 at most"
                    bad=1
                fi
                ;;
        esac
    done <"$work/files"
    # 128 columns (characters, not bytes; tests may hold long data), no tabs, no blanks at line ends.
    grep -E '\.(c|h|cc|lua|sh|py|sql)$' "$work/files" | xargs /usr/bin/python3 -c '
import sys
bad = 0
for name in sys.argv[1:]:
    for number, line in enumerate(open(name, encoding="utf-8", newline="\n"), 1):
        line = line.rstrip("\n")
        for wrong, what in ((len(line) > 128 and not name.endswith(".sql") and not name.startswith("tests/"),
                             "longer than 128 columns"),
                            ("\t" in line, "a tab"), (line != line.rstrip(), "blanks at the end")):
            if wrong:
                print(f"{name}:{number}: {what}")
                bad = 1
sys.exit(bad)
' || bad=1
    return $bad
}

etc/install-deps build lint || exit 1
[ $# -gt 0 ] || set -- tree shell python lua gcc cppcheck tidy
for s in "$@"; do
    case $s in
        gcc | tidy | cppcheck | lua | shell | python | tree) step "$s" "lint_$s" ;;
        *)
            echo "lint.sh: no step is called $s" >&2
            exit 2
            ;;
    esac
done
if [ -n "$failed" ]; then
    echo "lint: findings in$failed" >&2
    exit 1
fi
