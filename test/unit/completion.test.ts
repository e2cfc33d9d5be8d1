import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { renderCompletion, type CompletedCommand, type Shell } from '../../src/lib/cli/render-completion.js';

const flag = (name: string, options: string[] | null) => ({
  name: `--${name}`,
  description: `it's ${name}`,
  takesValue: options !== null,
  options: options ?? [],
});
const COMMANDS: CompletedCommand[] = [
  { name: 'cutover', summary: 'The phase.', flags: [flag('phase', ['1', '2', '3']), flag('yes', null)], values: [] },
  { name: 'completion', summary: 'This.', flags: [], values: ['bash', 'zsh'] },
  { name: 'quarantine', summary: 'A topic.', flags: [], values: [] },
  { name: 'quarantine list', summary: 'A list.', flags: [flag('limit', [])], values: [] },
  { name: 'quarantine show', summary: 'A record.', flags: [], values: [] },
];

/** How each shell is asked what would complete a line that ends at the cursor. */
const ASK: Readonly<Record<'bash' | 'fish', (script: string, line: string) => string[]>> = {
  bash: (script, line) => [
    '-c',
    `source "$1"; COMP_WORDS=($2); [[ $2 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
     _sensorctl; printf '%s\\n' "\${COMPREPLY[@]}"`,
    'bash',
    script,
    line,
  ],
  fish: (script, line) => ['--no-config', '-c', `source ${script}; complete -C '${line}'`],
};

describe('completion', () => {
  let directory: string;

  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sensorctl-completion-'));
  });

  after(() => rmSync(directory, { recursive: true }));

  function write(shell: Shell): string {
    const file = path.join(directory, `sensorctl.${shell}`);
    writeFileSync(file, renderCompletion(shell, 'sensorctl', COMMANDS));
    return file;
  }

  for (const shell of ['bash', 'fish'] as const) {
    it(`completes commands, those of a topic, flags and values in ${shell}`, function () {
      if (!isInstalled(shell)) this.skip();
      const script = write(shell);
      const complete = (line: string): string[] => {
        const text = execFileSync(shell, ASK[shell](script, line), { encoding: 'utf8', cwd: directory });
        return text
          .split('\n')
          .map((each) => each.split('\t')[0] ?? '')
          .filter((each) => each !== '' && each !== '--help');
      };
      expect(complete('sensorctl c')).to.have.members(['cutover', 'completion']);
      expect(complete('sensorctl quarantine ')).to.have.members(['list', 'show']);
      expect(complete('sensorctl quarantine list --l')).to.deep.equal(['--limit']);
      expect(complete('sensorctl cutover --')).to.have.members(['--phase', '--yes']);
      expect(complete('sensorctl cutover --phase ')).to.deep.equal(['1', '2', '3']);
      expect(complete('sensorctl completion b')).to.deep.equal(['bash']);
    });
  }

  it('is a script that zsh can read', function () {
    if (!isInstalled('zsh')) this.skip();
    execFileSync('zsh', ['-n', write('zsh')]);
  });
});

function isInstalled(shell: Shell): boolean {
  try {
    execFileSync(shell, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
