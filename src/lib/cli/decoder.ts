import * as Flags from '@oclif/core/flags';
import type { Settings } from '../config.js';
import { loadDecoder } from '../decoders/load-decoder.js';
import type { UsedDecoder } from '../decoders/run-decoder.js';

/** Which decoder, alike in every command that decodes. */
export const DECODER_FLAGS = {
  decoder: Flags.string({
    helpValue: 'FILE',
    description: "ES module that says what a message becomes; over TELEMETRY_DECODER [default: the guide's telemetry]",
  }),
};

/** The setting that the flag gives. */
export function decoderSetting(flags: { readonly decoder?: string | undefined }): Record<string, string | undefined> {
  return { TELEMETRY_DECODER: flags.decoder };
}

/** The decoder of the settings. Throws a UsageError where it does not load. */
export async function openDecoder({ telemetry }: Settings): Promise<UsedDecoder> {
  return await loadDecoder(telemetry.decoder, telemetry);
}
