"""The scripts of `completion`, one for each shell, written out of the words that they complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tui.cli.completion import Command, Flag, Words

FACTS: Final = "family:format, then family alone, then none: of all families"


def bash(words: Words) -> str:
    """For bash, 3.2 (macOS) too."""
    lines = [
        "# for bash: modeldeck completion bash > ~/.local/share/bash-completion/completions/modeldeck",
        f"_modeldeck_machines=({' '.join(map(_quoted, words.machines))})",
        *_tables(words),
        "_modeldeck() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} plain name IFS=$' \\t\\n'",
        '    local before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")',
        "    COMPREPLY=()",
        # bash takes --flag=value apart at the sign
        "    [ \"$current\" = '=' ] && current=''",
        *_body(words, lambda flags: _quoted(" ".join(flag.name for flag in flags))),
        "    plain=${current//\\\\/}",
        "    plain=${plain#[\\'\\\"]}",
        '    if [ -z "$flag" ] && [ "${current#-}" != "$current" ]; then',
        "        offered=$flags kind=''",
        "    fi",
        '    if [ "$kind" = several ]; then',
        '        plain=${current%"${current##*,}"}',
        "        for name in $offered; do",
        '            case ",$plain$name" in',
        '                *",$name,"*) ;;',
        '                ",$current"*) COMPREPLY[${#COMPREPLY[@]}]=$plain$name ;;',
        "            esac",
        "        done",
        "        compopt -o nospace 2>/dev/null",
        "        return",
        "    fi",
        '    COMPREPLY=($(compgen -W "$offered" -- "$current"))',
        "    IFS=$'\\n'",
        '    if [ "$kind" = machines ]; then',
        "        COMPREPLY=($(",
        "            shopt -s nocasematch",
        '            for name in "${_modeldeck_machines[@]}"; do',
        '                [[ $name == "$plain"* ]] && printf \'%s\\n\' "$name"',
        "            done",
        "        ))",
        "    fi",
        # readline quotes blanks itself in what it takes for names of files
        '    if [ "$kind" = machines ] || { [ "$kind" = paths ] && [ ${#COMPREPLY[@]} -eq 0 ]; }; then',
        '        COMPREPLY=("${COMPREPLY[@]}" $(compgen -f -- "$plain"))',
        "        compopt -o filenames 2>/dev/null",
        "    fi",
        "}",
        "",
        "complete -F _modeldeck modeldeck",
    ]
    return "\n".join(lines) + "\n"


def zsh(words: Words) -> str:
    """For zsh with compinit."""
    lines = [
        "#compdef modeldeck",
        "# for zsh: modeldeck completion zsh > a folder of $fpath/_modeldeck",
        "_modeldeck_commands=(",
        *(f"    {_described(one.name, one.what)}" for one in words.commands[1:]),
        ")",
        f"_modeldeck_machines=({' '.join(map(_quoted, words.machines))})",
        *_tables(words),
        "_modeldeck() {",
        "    local -a before flags values",
        '    before=("${(@)words[2,CURRENT-1]}")',
        "    if [[ $PREFIX == --*=* ]]; then",
        "        before+=(${PREFIX%%=*})",
        "        compset -P '*='",
        "    fi",
        *_body(words, lambda flags: "(" + " ".join(_described(flag.name, flag.what) for flag in flags) + ")"),
        '    if [ -z "$flag" ] && [[ $PREFIX == -* ]]; then',
        "        _describe -o -t options option flags",
        "        return",
        "    fi",
        '    case "$kind" in',
        "        commands) _describe -t commands command _modeldeck_commands ;;",
        "        several)",
        "            compset -P '*,'",
        "            flags=(${(s:,:)IPREFIX})",
        "            values=(${=offered})",
        "            values=(${values:|flags})",
        "            compadd -q -S , -a values",
        "            ;;",
        "        machines)",
        "            compadd -M 'm:{a-zA-Z}={A-Za-z}' -a _modeldeck_machines",
        "            _files",
        "            ;;",
        "        paths) compadd -- ${=offered} || _files ;;",
        "        *) compadd -- ${=offered} ;;",
        "    esac",
        "}",
        "",
        'if [ "$funcstack[1]" = _modeldeck ]; then _modeldeck "$@"; else compdef _modeldeck modeldeck; fi',
    ]
    return "\n".join(lines) + "\n"


def fish(words: Words) -> str:
    """For fish, which asks for each line of `complete` whether it is meant."""
    lines = [
        "# for fish: modeldeck completion fish > ~/.config/fish/completions/modeldeck.fish",
        f"set -g __modeldeck_families {' '.join(words.families)}",
        f"set -g __modeldeck_machines {' '.join(map(_quoted, words.machines))}",
        "",
        "# What stands before the cursor: the command, its first word, the family and the format that are named.",
        "function __modeldeck_read",
        "    set -g __modeldeck_command ''",
        "    set -g __modeldeck_first ''",
        "    set -g __modeldeck_family ''",
        "    set -g __modeldeck_format ''",
        "    set -l flag ''",
        "    set -l before (commandline -opc)",
        "    for word in $before[2..-1]",
        '        if test -n "$flag"',
        '            switch "$flag"',
        "                case --model-name",
        '                    set -g __modeldeck_family "$word"',
        "                case --model-format",
        '                    set -g __modeldeck_format "$word"',
        "            end",
        "            set flag ''",
        "            continue",
        "        end",
        '        switch "$word"',
        f"            case {' '.join(words.values)}",
        "                set flag $word",
        "            case '--model-name=*'",
        "                set -g __modeldeck_family (string replace -- --model-name= '' $word)",
        "            case '--model-format=*'",
        "                set -g __modeldeck_format (string replace -- --model-format= '' $word)",
        "            case '-*'",
        "            case '*'",
        '                if test -z "$__modeldeck_command"',
        '                    set -g __modeldeck_command "$word"',
        '                else if test -z "$__modeldeck_first"',
        '                    set -g __modeldeck_first "$word"',
        f"                    if contains -- $__modeldeck_command {' '.join(_family_commands(words))}",
        '                        set -g __modeldeck_family "$word"',
        "                    end",
        "                end",
        "        end",
        "    end",
        "end",
        "",
        "function __modeldeck_in",
        "    __modeldeck_read",
        '    contains -- "$__modeldeck_command" $argv',
        "end",
        "",
        "function __modeldeck_begins",
        '    __modeldeck_in $argv; and test -z "$__modeldeck_first"',
        "end",
        "",
        "function __modeldeck_goes_on",
        '    __modeldeck_in $argv; and test -n "$__modeldeck_first"',
        "end",
        "",
        "# Of a list with commas: what stands there, and what may come after it.",
        "function __modeldeck_list",
        "    set -l given (string match -r -- '^.*,' (commandline -ct); or echo '')",
        "    for word in $argv",
        "        contains -- $word (string split , -- $given); or printf '%s\\tcolumn\\n' $given$word",
        "    end",
        "end",
        "",
        *_fish_facts(words.facts),
        "complete -c modeldeck -f",
    ]
    nothing_yet = "-n \"__modeldeck_in ''\""
    lines += [f"complete -c modeldeck {nothing_yet} -a {one.name} -d {_said(one.what)}" for one in words.commands[1:]]
    for one in words.commands:
        here = f"-n \"__modeldeck_in '{one.name}'\""
        begins = f"-n \"__modeldeck_begins '{one.name}'\""
        if one.words:
            lines.append(f"complete -c modeldeck {begins} -a '{' '.join(one.words)}'")
        if one.takes_family:
            lines.append(f"complete -c modeldeck {begins} -a '$__modeldeck_families' -d family")
        if one.takes_path:
            # Where the first word is one of a few, paths come after it.
            after = f"-n \"__modeldeck_goes_on '{one.name}'\""
            lines.append(f"complete -c modeldeck {after if one.words else here} -F")
        lines += [_fish_flag(flag, here) for flag in one.flags]
    return "\n".join(lines) + "\n"


SCRIPTS: Final[Mapping[str, Callable[[Words], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _said(text: str) -> str:
    """A description for fish, on one line."""
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _noun(flag: str) -> str:
    """What fish says of each of a flag's values."""
    return {"--sort": "order"}.get(flag) or flag.removeprefix("--").removeprefix("model-").replace("-", " ")


def _described(name: str, what: str) -> str:
    """A word with its description, as zsh's _describe takes it."""
    return _quoted(f"{name}:{' '.join(what.split())}")


def _family_commands(words: Words) -> list[str]:
    return [one.name for one in words.commands if one.takes_family]


def _alike(values: Mapping[str, Sequence[str]]) -> Iterable[tuple[list[str], Sequence[str]]]:
    """Keys that have the same values, together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for key, names in values.items():
        if key:
            found.setdefault(tuple(names), []).append(key)
    return ((keys, names) for names, keys in found.items())


def _tables(words: Words) -> list[str]:
    """What bash and zsh look up: families, and by flag what is published of one."""
    lines = [f"_modeldeck_families='{' '.join(words.families)}'", ""]
    lines += ["# by flag, and family:format or family: alone", "_modeldeck_fact() {", '    case "$1" in']
    for flag, values in words.facts.items():
        lines += [f"        {flag})", '            case "$2" in']
        lines += [f"                {'|'.join(keys)}) offered='{' '.join(names)}' ;;" for keys, names in _alike(values)]
        lines += [f"                '') offered='{' '.join(values[''])}' ;;", "            esac", "            ;;"]
    return [*lines, "    esac", "}", ""]


def _body(words: Words, flags_as: Callable[[Sequence[Flag]], str]) -> list[str]:
    """What bash and zsh share: reads $before, and leaves in $offered, $flags and $kind what may stand here."""
    takers = words.values
    lines = [
        "    local word command='' first='' family='' format='' flag='' offered='' kind=''",
        '    for word in "${before[@]}"; do',
        '        if [ -n "$flag" ]; then',
        "            [ \"$word\" = '=' ] && continue",
        '            case "$flag" in',
        "                --model-name) family=$word ;;",
        "                --model-format) format=$word ;;",
        "            esac",
        "            flag=''",
        "            continue",
        "        fi",
        '        case "$word" in',
        f"            {'|'.join(takers)}) flag=$word ;;",
        "            --model-name=*) family=${word#*=} ;;",
        "            --model-format=*) format=${word#*=} ;;",
        "            -*) ;;",
        "            *)",
        '                if [ -z "$command" ]; then',
        "                    command=$word",
        '                elif [ -z "$first" ]; then',
        "                    first=$word",
        f'                    case "$command" in {"|".join(_family_commands(words))}) family=$word ;; esac',
        "                fi",
        "                ;;",
        "        esac",
        "    done",
        '    case "$flag" in',
        "        '')",
        '            case "$command" in',
        *(
            f"                {_case(one, [other.name for other in words.commands[1:]], flags_as)} ;;"
            for one in words.commands
        ),
        "            esac",
        '            [ -n "$first" ] && [ "$kind" = words ] && kind=paths',
        "            [ -n \"$first\" ] && offered=''",
        "            ;;",
        "        --model-name) offered=$_modeldeck_families kind=paths ;;",
        f"        {'|'.join(words.facts)})",
        f"            # {FACTS}",
        '            _modeldeck_fact "$flag" "$family:$format"',
        '            [ -z "$offered" ] && _modeldeck_fact "$flag" "$family:"',
        '            [ -z "$offered" ] && _modeldeck_fact "$flag" \'\'',
        "            ;;",
        "        --machine) kind=machines ;;",
    ]
    for flag in takers.values():
        if flag.several:
            lines.append(f"        {flag.name}) offered='{' '.join(flag.choices)}' kind=several ;;")
        elif flag.paths:
            lines.append(f"        {flag.name}) kind=paths ;;")
        elif flag.choices and flag.name not in words.facts:
            lines += _choices(flag.name, words.commands)
    return [*lines, "    esac"]


def _choices(name: str, commands: Sequence[Command]) -> list[str]:
    """A flag's values, which may differ from command to command."""
    by_values: dict[tuple[str, ...], list[str]] = {}
    for one in commands:
        for flag in one.flags:
            if flag.name == name:
                by_values.setdefault(flag.choices, []).append(one.name)
    if len(by_values) == 1:
        return [f"        {name}) offered='{' '.join(next(iter(by_values)))}' ;;"]
    inner = [
        f"                {'|'.join(found)}) offered='{' '.join(values)}' ;;" for values, found in by_values.items()
    ]
    return [f"        {name})", '            case "$command" in', *inner, "            esac", "            ;;"]


def _case(one: Command, names: Sequence[str], flags_as: Callable[[Sequence[Flag]], str]) -> str:
    """What may stand behind a command, in a line of a shell's case."""
    offered = f"'{' '.join(one.words)}'" if one.words else "''"
    if one.takes_family:
        offered = "$_modeldeck_families"
    kind = ("words" if one.words else "paths") if one.takes_path else ""
    if not one.name:
        offered, kind = _quoted(" ".join(names)), "commands"
    return f"{one.name or _quoted('')}) offered={offered} kind={kind or _quoted('')} flags={flags_as(one.flags)}"


def _fish_facts(facts: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    lines = [
        f"# By flag: {FACTS}.",
        "function __modeldeck_fact",
        "    __modeldeck_read",
        '    for key in "$__modeldeck_family:$__modeldeck_format" "$__modeldeck_family:" \'\'',
        '        switch "$argv[1] $key"',
    ]
    for flag, values in facts.items():
        for keys, names in _alike(values):
            lines.append(f"            case {' '.join(_quoted(f'{flag} {key}') for key in keys)}")
            lines += [f"                printf '%s\\t{_noun(flag)}\\n' {' '.join(names)}", "                return"]
        lines.append(f"            case '{flag} '")
        lines += [f"                printf '%s\\t{_noun(flag)}\\n' {' '.join(values[''])}", "                return"]
    return [*lines, "        end", "    end", "end", ""]


def _fish_flag(flag: Flag, here: str) -> str:
    line = f"complete -c modeldeck {here} -l {flag.name.removeprefix('--')} -d {_said(flag.what)}"
    if flag.name in {"--quantization", "--size-in-billions", "--model-format"}:
        return f"{line} -x -k -a '(__modeldeck_fact {flag.name})'"
    if flag.name == "--model-name":
        return f"{line} -r -F -a '(printf \"%s\\tfamily\\n\" $__modeldeck_families)'"
    if flag.name == "--machine":
        return f"{line} -r -F -k -a '(printf \"%s\\tmachine\\n\" $__modeldeck_machines)'"
    if flag.several:
        return f"{line} -x -k -a '(__modeldeck_list {' '.join(flag.choices)})'"
    if flag.choices:
        return f"{line} -x -k -a '(printf \"%s\\t{_noun(flag.name)}\\n\" {' '.join(flag.choices)})'"
    if flag.paths:
        return f"{line} -r -F"
    return f"{line} -x" if flag.takes else line
