import { CommandLineError } from './advice.js';
import type { Hook } from '@oclif/core/hooks';
import type { UsageError } from '../errors.js';
import { createErrorReport, renderErrorReport } from './error-report.js';
import { writeJson, writeNote } from './output.js';
import { nearest } from '../domain/words.js';

/** oclif's hook for words that name no command: `help COMMAND`, a typing error, or an argument too many. */
const commandNotFound: Hook<'command_not_found'> = async function ({ id, argv = [], config }) {
  const words = id.split(':');
  if (words[0] === 'help') {
    const { Help } = await import('@oclif/core/help');
    await new Help(config).showHelp([words.slice(1).join(':')]);
    return;
  }
  const error = explain(
    words,
    config.commandIDs.map((each) => each.replaceAll(':', ' ')),
    config.bin,
  );
  const report = createErrorReport(error, '');
  if (argv.includes('--json')) writeJson(report, 2);
  for (const line of renderErrorReport(report, error)) writeNote(line);
  this.exit(report.exitCode);
};

export default commandNotFound;

function explain(words: readonly string[], commands: readonly string[], bin: string): UsageError {
  const [first = '', ...rest] = words;
  const typed = words.join(' ');
  const inTopic = commands.filter((command) => command.startsWith(`${first} `));
  if (commands.includes(first) && nearest(typed, inTopic) === null) {
    return new CommandLineError(`${first} takes no argument: ${rest.join(' ')}`, `${bin} ${first} --help`);
  }
  // The words after a misspelt command may be its own: `cmopare extra`.
  const meant = nearest(typed, commands) ?? (inTopic.length === 0 ? nearest(first, commands) : null);
  const near = meant ?? (inTopic.length === 0 ? '' : first);
  return new CommandLineError(
    `there is no command ${typed}${meant === null ? '' : `; did you mean ${meant}?`}`,
    `${[bin, near].join(' ').trimEnd()} --help`,
  );
}
