import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { DECODER_FLAGS, decoderSetting, DecodingCommand } from '../lib/cli/decoder.js';
import { openSide, withDatabases } from '../lib/cli/open-sides.js';
import { printMessage, renderDecodeSummary, renderMessage, type PrintedMessage } from '../lib/cli/render-decode.js';
import { EXIT_CODE } from '../lib/errors.js';
import { decode, type DecodedLine, type DecodeSummary } from '../lib/operations/decode.js';

export type DecodeDocument = DecodeSummary & { readonly lines?: readonly PrintedMessage[] };

export default class Decode extends DecodingCommand {
  static override summary = 'Show what the decoder makes of messages in JSON-lines files; writes nothing.';
  static override description = `One message a line, as replay sends it. Each is decoded twice: a decoder that makes something else of it the second time is not deterministic, and a redelivered message would be stored twice. With --check, rows are held against local's tables: unknown tables and columns, keys that are left out, values that a type does not take. Exit code 1 where a message has a fault or decodes to something else.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %> telemetry.jsonl',
    '<%= config.bin %> <%= command.id %> telemetry.jsonl --decoder ./decoder.mjs --summary',
    'tail -n 20 telemetry.jsonl | <%= config.bin %> <%= command.id %> - --json',
  ];
  static override enableJsonFlag = true;
  static override strict = false;
  static override args = {
    file: Args.file({ description: 'JSON-lines file, or - for stdin; several may be given', required: true }),
  };
  static override flags = {
    ...DECODER_FLAGS,
    check: Flags.boolean({ description: "hold the rows against local's tables, which takes the settings of local" }),
    summary: Flags.boolean({ description: 'the counts alone, without what becomes of each message' }),
  };

  async run(): Promise<DecodeDocument> {
    const { argv, flags } = await this.parse(Decode);
    const settings = this.settings({ flags: decoderSetting(flags) });
    const decoder = await this.openDecoder(settings);
    const database = flags.check ? openSide('local', settings, 'decode', this.logger()) : null;
    const lines: PrintedMessage[] = [];
    const show = (line: DecodedLine): void => {
      if (this.jsonEnabled()) lines.push(printMessage(line));
      else this.log(renderMessage(line));
    };
    const options = { paths: argv as string[], input: process.stdin, decoder, database, stop: this.stopSignal() };
    const onLine = flags.summary ? () => undefined : show;
    const summary = await withDatabases(database === null ? [] : [database], () => decode({ ...options, onLine }));
    this.log(renderDecodeSummary(summary));
    if (summary.faulty + summary.differing > 0) process.exitCode = EXIT_CODE.no;
    return flags.summary ? summary : { ...summary, lines };
  }
}
