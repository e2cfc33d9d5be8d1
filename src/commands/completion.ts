import * as Args from '@oclif/core/args';
import { BaseCommand } from '../lib/cli/base-command.js';
import { renderCompletion, SHELLS, type CompletedCommand, type Shell } from '../lib/cli/render-completion.js';

export default class Completion extends BaseCommand {
  static override summary = 'Print the script that lets bash, zsh or fish complete commands, flags and values.';
  static override description = `Put it into the start-up file of the shell, and again after an upgrade:

  bash: echo 'source <(sensorctl completion bash)' >> ~/.bashrc
  zsh: echo 'source <(sensorctl completion zsh)' >> ~/.zshrc (after compinit)
  fish: sensorctl completion fish > ~/.config/fish/completions/sensorctl.fish`;
  static override examples = [
    'source <(<%= config.bin %> <%= command.id %> bash)',
    '<%= config.bin %> <%= command.id %> fish | source',
  ];
  static override args = {
    shell: Args.string({ description: SHELLS.join(', '), options: [...SHELLS], required: true }),
  };

  async run(): Promise<void> {
    const { args } = await this.parse(Completion);
    this.log(renderCompletion(args.shell as Shell, this.config.bin, this.#commands()).trimEnd());
  }

  #commands(): CompletedCommand[] {
    const commands = this.config.commands.map(({ id, summary = '', flags, args }) => ({
      name: id.replaceAll(':', ' '),
      summary,
      values: Object.values(args).flatMap(({ options = [] }) => options),
      flags: Object.values(flags).flatMap((flag) => {
        const { name, description = '', type } = flag;
        const options = flag.type === 'option' ? (flag.options ?? []) : [];
        const both = flag.type === 'boolean' && flag.allowNo ? [`--${name}`, `--no-${name}`] : [`--${name}`];
        return both.map((each) => ({ name: each, description, takesValue: type === 'option', options }));
      }),
    }));
    const topics = this.config.topics
      .map(({ name, description = '' }) => ({
        name: name.replaceAll(':', ' '),
        summary: description,
        flags: [],
        values: [],
      }))
      .filter((topic) => commands.every((command) => command.name !== topic.name));
    return [...commands, ...topics].sort((one, other) => (one.name < other.name ? -1 : 1));
  }
}
