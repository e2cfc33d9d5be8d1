import { quoteForShell } from './shell-word.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A command or a topic as a shell completes it. */
export interface CompletedCommand {
  /** As it is typed: `quarantine list`. */
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly CompletedFlag[];
  /** The values that its argument may have; empty where they cannot be listed. */
  readonly values: readonly string[];
}

export interface CompletedFlag {
  /** With its dashes. */
  readonly name: string;
  readonly description: string;
  readonly takesValue: boolean;
  /** The values it takes; empty where they cannot be listed. */
  readonly options: readonly string[];
}

/** The script that lets a shell complete commands, flags and their values. It calls nothing: all it knows stands in it. */
export function renderCompletion(shell: Shell, bin: string, commands: readonly CompletedCommand[]): string {
  const places = [...new Set(['', ...commands.flatMap(({ name }) => [firstWord(name), name])])].map((name) =>
    describePlace(name, commands),
  );
  return { bash: renderBash, zsh: renderZsh, fish: renderFish }[shell](bin, places);
}

/** The words that may follow those of a command or a topic; only commands follow the empty name. */
interface Place {
  readonly name: string;
  readonly words: readonly { readonly word: string; readonly description: string }[];
  readonly flags: readonly CompletedFlag[];
}

function describePlace(name: string, commands: readonly CompletedCommand[]): Place {
  const prefix = name === '' ? '' : `${name} `;
  const below = commands.filter((command) => command.name.startsWith(prefix) && command.name !== name);
  const words = [...new Set(below.map((command) => firstWord(command.name.slice(prefix.length))))];
  const find = (wanted: string): CompletedCommand | undefined => commands.find((command) => command.name === wanted);
  const command = find(name);
  return {
    name,
    words: [
      ...words.map((word) => ({ word, description: find(`${prefix}${word}`)?.summary ?? '' })),
      ...(command?.values ?? []).map((word) => ({ word, description: '' })),
    ],
    flags: command?.flags ?? [],
  };
}

function firstWord(text: string): string {
  return text.split(' ')[0] ?? '';
}

function renderBash(bin: string, places: readonly Place[]): string {
  const values = placesOfValues(places).map(({ where, options }) => {
    return `    ${where}) ${options.length === 0 ? 'return' : `words=${quoteForShell(options.join(' '))}`} ;;`;
  });
  const words = places.map(({ name, words: commands, flags }) => {
    const list = [...commands.map(({ word }) => word), ...flags.map((flag) => flag.name), '--help'];
    return `      ${quoteForShell(name)}) words=${quoteForShell(list.join(' '))} ;;`;
  });
  return `# Completion of ${bin} for bash: source <(${bin} completion bash)
_${bin}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command='' word words=''
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${command:+$command }$word" in
      ${patternOf(places)}) command="\${command:+$command }$word" ;;
    esac
  done
  case "$command $previous" in
${values.join('\n')}
    *) case "$command" in
${words.join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _${bin} ${bin}
`;
}

function renderZsh(bin: string, places: readonly Place[]): string {
  const values = placesOfValues(places).map(({ where, options }) => {
    return `    ${where}) ${options.length === 0 ? '_files' : `compadd -- ${options.map(quoteForShell).join(' ')}`}; return ;;`;
  });
  const words = places.map(({ name, words: commands, flags }) => {
    const list = [
      ...commands.map(({ word, description }) => quoteForShell(`${word}:${description}`)),
      ...flags.map((flag) => quoteForShell(`${flag.name}:${flag.description}`)),
    ];
    return `    ${quoteForShell(name)}) found=(${list.join(' ')} ${quoteForShell('--help:Show the help')}) ;;`;
  });
  return `#compdef ${bin}
# Completion of ${bin} for zsh: source <(${bin} completion zsh), after compinit
_${bin}() {
  local command='' word
  local -a found
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${command:+$command }$word" in
      ${patternOf(places)}) command="\${command:+$command }$word" ;;
    esac
  done
  case "$command \${words[CURRENT-1]}" in
${values.join('\n')}
  esac
  case "$command" in
${words.join('\n')}
  esac
  _describe ${bin} found || _files
}
compdef _${bin} ${bin}
`;
}

function renderFish(bin: string, places: readonly Place[]): string {
  const lines = places.flatMap(({ name, words, flags }) => {
    const when = name === '' ? '__fish_use_subcommand' : name.split(' ').map(seen).join('; and ');
    const further = words.map(({ word }) => word).join(' ');
    const onlyHere = name === '' || words.length === 0 ? when : `${when}; and not ${seen(further)}`;
    return [
      ...words.map(
        ({ word, description }) =>
          `complete -c ${bin} -f -n ${quoteForShell(onlyHere)} -a ${word} -d ${quoteForShell(description)}`,
      ),
      ...flags.map(({ name: flag, description, takesValue, options }) => {
        const value = options.length > 0 ? ` -x -a ${quoteForShell(options.join(' '))}` : takesValue ? ' -r' : '';
        return `complete -c ${bin} -n ${quoteForShell(onlyHere)} -l ${flag.slice(2)}${value} -d ${quoteForShell(description)}`;
      }),
    ];
  });
  return `# Completion of ${bin} for fish: ${bin} completion fish | source\n${lines.join('\n')}\n`;
}

function seen(words: string): string {
  return `__fish_seen_subcommand_from ${words}`;
}

/** The words so far, as patterns of a \`case\`. */
function patternOf(places: readonly Place[]): string {
  return places
    .filter(({ name }) => name !== '')
    .map(({ name }) => quoteForShell(name))
    .join('|');
}

/** The flags that take a value, each as the pattern \`command --flag\`. */
function placesOfValues(places: readonly Place[]): { where: string; options: readonly string[] }[] {
  return places.flatMap(({ name, flags }) =>
    flags
      .filter(({ takesValue }) => takesValue)
      .map((flag) => ({ where: quoteForShell(`${name} ${flag.name}`), options: flag.options })),
  );
}
