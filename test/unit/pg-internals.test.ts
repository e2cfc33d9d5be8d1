import { PassThrough } from 'node:stream';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import pg from 'pg';
import {
  CopyOutput,
  destroySocket,
  endQueryTimeout,
  onConnectionError,
  parseTextArray,
  prepareValue,
  superviseSignIn,
} from '../../src/lib/db/pg-internals.js';

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

describe('what leans on the internals of pg', () => {
  it('is pinned to the version of pg that it was written for', () => {
    const read = (file: string): { version?: string; dependencies?: Record<string, string> } =>
      JSON.parse(readFileSync(path.resolve(import.meta.dirname, '../..', file), 'utf8')) as { version?: string };
    expect(read('package.json').dependencies?.pg).to.equal(read('node_modules/pg/package.json').version);
  });

  it('finds the socket and the events of a connection', () => {
    const client = new pg.Client();
    const heard: object[] = [];
    onConnectionError(client, (error) => heard.push(error));
    const given: string[] = [];
    superviseSignIn(client, {
      onPasswordRequest: (way) => (given.push(way), null),
      onWelcome: (isProven) => (given.push(String(isProven)), null),
    });
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.emit('authenticationSASL', { mechanisms: ['SCRAM-SHA-256-PLUS'] });
    connection.emit('authenticationSASLFinal', {});
    connection.emit('authenticationOk');
    connection.emit('authenticationSASL', { mechanisms: ['SCRAM-SHA-256'] });
    connection.emit('authenticationMD5Password');
    expect(given).to.deep.equal(['bound', 'true', 'scram', 'open']);
    const broken = new Error('broken');
    connection.emit('error', broken);
    expect(heard).to.deep.equal([broken]);
    expect((connection as unknown as { stream: { destroyed: boolean } }).stream.destroyed, 'given up').to.equal(true);
    const other = new pg.Client();
    destroySocket(other);
    expect(
      (other as unknown as { connection: { stream: { destroyed: boolean } } }).connection.stream.destroyed,
    ).to.equal(true);
  });

  it('gives values the form in which pg sends them, reads arrays of texts, and ends the timer of a query', () => {
    expect([1, 'a', true, null, ['x', 'y"']].map((value) => prepareValue(value))).to.deep.equal([
      ...['1', 'a', 'true', null],
      String.raw`{"x","y\""}`,
    ]);
    expect(parseTextArray(String.raw`{a,"b c",NULL,"d\""}`)).to.deep.equal(['a', 'b c', null, 'd"']);
    let ended = 0;
    endQueryTimeout({ callback: () => (ended += 1) });
    endQueryTimeout({});
    expect(ended).to.equal(1);
  });
});
