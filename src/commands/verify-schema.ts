import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../lib/cli/base-command.js';
import { withCatalogs } from '../lib/cli/open-sides.js';
import { renderFindings } from '../lib/cli/render-verify-schema.js';
import { EXIT_CODE } from '../lib/errors.js';
import { type SchemaVerdict, verifySchema } from '../lib/operations/verify-schema/verify-schema.js';

export default class VerifySchema extends BaseCommand {
  static override summary = 'Compare both schemas and say what makes dual write or repair unsafe.';
  static override description = `Reads the catalogs of both sides in read-only transactions and changes nothing. Each finding has a weight: what blocks makes a write or a repair lose, change or refuse a reading; what warns can hurt later; the rest are notes.

--sql prints one script that brings EC2 in line with local: run it on EC2 and verify again. What has to be done on local or by hand stands in it as comments.

Exit code 1 when something blocks; with --sql 0 once the script is printed, whatever it mends.`;
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --table water_level_readings --json',
    '<%= config.bin %> <%= command.id %> --sql > ec2.sql',
  ];
  static override enableJsonFlag = true;
  static override flags = {
    table: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      description: 'only this table of local, by name or pattern; may be repeated [default: every table]',
    }),
    sql: Flags.boolean({ description: 'print the script for EC2 instead of the findings', exclusive: ['json'] }),
  };

  async run(): Promise<SchemaVerdict> {
    const { flags } = await this.parse(VerifySchema);
    const settings = this.settings({ required: ['EC2_DB_HOST'] });
    const { verdict, findings, script } = await withCatalogs(settings, 'verify-schema', this.logger(), (sides) =>
      verifySchema(sides, flags.table, settings.tables),
    );
    if (flags.sql) {
      this.logScript(script);
      return { verdict, findings };
    }
    this.log(renderFindings(verdict, findings));
    if (verdict === 'blocked') process.exitCode = EXIT_CODE.no;
    return { verdict, findings };
  }
}
