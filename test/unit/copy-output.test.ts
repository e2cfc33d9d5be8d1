import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { CopyOutput } from '../../src/lib/db/copy-output.js';

const ROWS = ['', 'a', 'bc', 'x'.repeat(300), 'd'].map((row) => Buffer.from(row));

/** What the server sends: the begin, a notice among the rows, the end, and what belongs to the next query. */
const SENT = Buffer.concat([
  frame('H', Buffer.from([0, 0, 0])),
  ...ROWS.slice(0, 3).map((row) => frame('d', row)),
  frame('N', Buffer.from('a notice')),
  ...ROWS.slice(3).map((row) => frame('d', row)),
  frame('c'),
  frame('C', Buffer.from('COPY 5\0')),
  frame('Z', Buffer.from('I')),
]);

function frame(type: string, body = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(5);
  header.write(type);
  header.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
}

describe('the output of a COPY', () => {
  it('is the same however the network cuts it, and pg gets everything else', async () => {
    for (let size = 1; size <= SENT.length; size += 1) {
      const stream = new PassThrough();
      const driven: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => driven.push(chunk));
      const output = new CopyOutput('copy');
      output.submit({ stream, query: () => undefined });
      for (let at = 0; at < SENT.length; at += size) stream.write(Buffer.from(SENT.subarray(at, at + size)));
      stream.end();
      stream.on('end', () => output.handleReadyForQuery());
      const rows = Buffer.concat(await output.toArray());
      expect(rows.toString()).to.equal(Buffer.concat(ROWS).toString());
      expect(
        Buffer.concat(driven)
          .toString('latin1')
          .replaceAll(/[^A-Za-z ]/g, ''),
      ).to.equal('HNa noticecCCOPY ZI');
    }
  });
});
