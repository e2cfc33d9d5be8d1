import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { AuthenticationError, type AuthenticationFault } from '../../src/lib/db/authentication.js';
import type { ConnectionSettings, SslMode } from '../../src/lib/db/connection.js';
import { asUnreachable, closeDatabase, openDatabase } from '../../src/lib/db/database.js';
import { describeFault, sqlstateOf } from '../../src/lib/db/sqlstate.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { Authority, type ServerCertificate } from '../support/certificates.js';
import { eventually, poolOf } from '../support/cli.js';
import { localServer } from '../support/servers.js';
import { ASK, authentication, Middle, relay, TlsServer, type Trick } from '../support/tls-server.js';

const PASSWORD = 'of-production-4711';

/** What a side answers, or why it was not asked: the SQLSTATE, our own fault, the code of Node, or the text. */
type Outcome = { readonly encrypted: boolean } | { readonly failed: string; readonly next: string };

/** Asks as `user`, over a pool as sensorctl opens it. */
async function ask(connection: ConnectionSettings): Promise<Outcome> {
  const database = openDatabase({
    ...{ side: 'ec2', connection, poolMax: 2, callTimeoutMs: 5_000, applicationName: 'sensorctl test' },
  });
  try {
    const { rows } = await database.pool.query<{ encrypted: boolean }>(
      'select ssl as encrypted from pg_stat_ssl where pid = pg_backend_pid()',
    );
    return { encrypted: rows[0]!.encrypted };
  } catch (error) {
    const told = asUnreachable(error, database);
    const { code } = error as { code?: string };
    const fault = error instanceof AuthenticationError ? error.fault : (sqlstateOf(error) ?? code);
    return { failed: fault ?? describeFault(error), next: nextStepFor(told) ?? '' };
  } finally {
    await closeDatabase(database);
  }
}

describe('TLS, by handshakes', function () {
  this.timeout(60_000);
  let authority: Authority;
  let foreign: Authority;
  let tls: TlsServer;
  let open: PostgresServer;
  const certificates = {} as Record<'good' | 'foreign' | 'expired' | 'of another host', ServerCertificate>;

  before(async () => {
    [authority, foreign] = await Promise.all([Authority.create('ours'), Authority.create('theirs')]);
    certificates.good = await authority.sign();
    certificates.foreign = await foreign.sign();
    certificates.expired = await authority.sign({ days: -1 });
    certificates['of another host'] = await authority.sign({ hosts: ['db.example.org', '127.0.0.2'] });
    [tls, open] = await Promise.all([TlsServer.start(certificates.good), localServer()]);
    await tls.allow(['host all plain all password', 'host all old all md5', 'host all trusted all trust']);
    const pool = poolOf(tls.server, 'postgres');
    await pool.query(`create role plain login password '${PASSWORD}'`);
    await pool.query(`create role trusted login password '${PASSWORD}'`);
    await pool.query(`set password_encryption = 'md5'; create role old login password '${PASSWORD}'`);
    await pool.end();
  });

  after(async () => {
    await tls.dispose();
  });

  function connectionTo({ host, port, user, password }: PostgresServer, sslMode: SslMode, root?: string) {
    return { host, port, user, password, database: 'postgres', sslMode, sslRootCert: root };
  }

  const roots = { none: () => undefined, ours: () => authority.pem } as const;
  const yes = { encrypted: true };
  const unknown = { failed: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', next: /EC2_DB_SSLROOTCERT/ };
  const expired = { failed: 'CERT_HAS_EXPIRED', next: /renew/ };
  const elsewhere = { failed: 'ERR_TLS_CERT_ALTNAME_INVALID', next: /EC2_DB_HOST/ };
  const noTls = { failed: 'The server does not support SSL connections', next: /EC2_DB_SSLMODE=disable/ };

  for (const [mode, root, expected] of [
    ['disable', 'none', { good: { encrypted: false } }],
    ['require', 'none', { good: yes, foreign: yes, expired: yes, 'of another host': yes }],
    ['require', 'ours', { good: yes, foreign: unknown, expired, 'of another host': yes }],
    ['verify-ca', 'ours', { good: yes, foreign: unknown, expired, 'of another host': yes }],
    ['verify-full', 'ours', { good: yes, foreign: unknown, expired, 'of another host': elsewhere }],
    ['verify-full', 'none', { good: unknown, foreign: unknown }],
  ] as const) {
    for (const [kind, outcome] of Object.entries(expected)) {
      const title = 'failed' in outcome ? `refuses (${outcome.failed})` : 'takes';
      it(`${mode}${root === 'none' ? '' : ' with a root certificate'} ${title} a certificate that is ${kind}`, async () => {
        await tls.present(certificates[kind as keyof typeof certificates]);
        const answer = await ask(connectionTo(tls.server, mode, roots[root]()));
        if (!('failed' in outcome)) expect(answer).to.deep.equal(outcome);
        else {
          expect(answer).to.have.property('failed', outcome.failed);
          expect(answer).to.have.property('next').that.matches(outcome.next);
        }
      });
    }
  }

  for (const mode of ['require', 'verify-ca', 'verify-full'] as const) {
    it(`${mode} refuses a server without TLS, and names the setting`, async () => {
      const answer = await ask(connectionTo(open, mode, authority.pem));
      expect(answer).to.have.property('failed', noTls.failed);
      expect(answer).to.have.property('next').that.matches(noTls.next);
    });
  }

  it('a server that wants encryption is answered with the name of the setting', async () => {
    await tls.allow(['hostssl all plain all scram-sha-256', 'hostnossl all plain all reject']);
    const answer = await ask({ ...connectionTo(tls.server, 'disable'), user: 'plain' });
    expect(answer).to.have.property('failed', '28000');
    expect(answer)
      .to.have.property('next')
      .that.matches(/EC2_DB_SSLMODE=verify-full/);
  });

  describe('a server that asks for the password in clear, by md5, or not at all', () => {
    before(async () => {
      await tls.present(certificates.good);
      await tls.allow(['host all plain all password', 'host all old all md5', 'host all trusted all trust']);
    });

    for (const [user, refused] of [
      ['plain', 'password-exposed'],
      ['old', 'password-exposed'],
      ['trusted', 'server-unproven'],
    ] as const) {
      it(`${user}: is answered where its certificate is verified, or nobody can stand in between`, async () => {
        const settings = { ...connectionTo(tls.server, 'verify-full', authority.pem), user, password: PASSWORD };
        expect(await ask(settings)).to.deep.equal(yes);
        expect(await ask({ ...settings, sslMode: 'verify-ca' })).to.deep.equal(yes);
        expect(await ask({ ...settings, sslMode: 'disable' })).to.deep.equal({ encrypted: false });
      });

      it(`${user}: is not answered where nothing proves who it is, and the error names what to set`, async () => {
        const settings = { ...connectionTo(tls.server, 'require'), user, password: PASSWORD };
        const answer = await ask(settings);
        expect(answer).to.have.property('failed', refused);
        expect(answer)
          .to.have.property('next')
          .that.matches(/EC2_DB_SSLROOTCERT.*EC2_DB_SSLMODE=verify-full/);
      });
    }
  });

  describe('a man in the middle', () => {
    let middle: Middle | undefined;

    before(async () => {
      await tls.present(certificates.good);
      await tls.allow([]);
    });

    afterEach(() => middle?.close());

    /** What comes of a connection that leads to him, and what he has heard. */
    async function meet(trick: Trick, mode: SslMode, root?: string, certificate = certificates.foreign) {
      middle?.close();
      middle = await Middle.open(mode === 'disable' ? null : certificate, trick);
      const { user, password } = tls.server;
      const settings = { host: '127.0.0.1', port: middle.port, user, password, database: 'postgres' };
      const outcome = await ask({ ...settings, sslMode: mode, sslRootCert: root });
      const met = middle;
      await eventually('the connection is cut on this side', async () => await Promise.resolve(met.open === 0), 3_000);
      expect(met.heard).not.to.contain(password);
      return { outcome, heard: met.heard };
    }

    const answers: Readonly<Record<string, Trick>> = {
      'asks in clear': (client) => client.write(ASK.clear),
      'asks by md5': (client) => client.write(ASK.md5),
      'begins with SCRAM and then asks in clear': (client) => client.write(Buffer.concat([ASK.bound, ASK.clear])),
      'asks in clear after our first answer': (client) => {
        client.once('data', () => client.write(ASK.clear));
        client.write(ASK.bound);
      },
    };
    for (const [what, trick] of Object.entries(answers)) {
      it(`who ${what} gets nothing of the password with require`, async () => {
        const { outcome, heard } = await meet(trick, 'require');
        expect(outcome).to.have.property('failed', 'password-exposed' satisfies AuthenticationFault);
        expect(heard).not.to.contain('md5');
      });
    }

    for (const [what, trick] of [
      ['lets us in without a question', (client) => client.write(ASK.welcome)],
      ['offers SCRAM without channel binding', (client) => client.write(ASK.scram)],
      [
        'begins with SCRAM and lets us in before it has ended',
        (client) => {
          client.once('data', () => client.write(ASK.welcome));
          client.write(ASK.bound);
        },
      ],
    ] as readonly (readonly [string, Trick])[]) {
      it(`who ${what} is not believed with require`, async () => {
        const { outcome, heard } = await meet(trick, 'require');
        expect(outcome).to.have.property('failed', 'server-unproven' satisfies AuthenticationFault);
        // What signing in without channel binding sends is enough to guess passwords with.
        expect(heard).not.to.match(/SCRAM-SHA-256(?!-PLUS)/);
      });
    }

    it('who relays to the true server is told apart by channel binding', async () => {
      const { outcome, heard } = await meet(relay(tls.server.port, 'tls'), 'require');
      expect(heard).to.contain('SCRAM-SHA-256-PLUS');
      expect(outcome).to.have.property('failed', '28000');
    });

    it('who relays to the true server in clear, which then offers no channel binding, is not believed', async () => {
      const { outcome, heard } = await meet(relay(tls.server.port, 'clear'), 'require');
      expect(outcome).to.have.property('failed', 'server-unproven');
      expect(heard).not.to.contain('SCRAM');
    });

    it('hears nothing at all where certificates are verified', async () => {
      for (const mode of ['verify-ca', 'verify-full'] as const) {
        const { outcome, heard } = await meet((client) => client.write(ASK.clear), mode, authority.pem);
        expect(outcome).to.have.property('failed', unknown.failed);
        expect(heard).to.equal('');
      }
    });

    it('who cannot prove that he knows the password is left, and what he sends behind lets nobody in', async () => {
      const trick: Trick = (client) => {
        client.once('data', (first) => {
          const nonce = /r=([^,]+)$/.exec(first.toString('latin1'))![1]!;
          client.once('data', () => {
            client.write(Buffer.concat([authentication(12, 'v=AAAA'), ASK.welcome]));
          });
          client.write(authentication(11, `r=${nonce}more,s=c2FsdA==,i=4096`));
        });
        client.write(ASK.bound);
      };
      const { outcome } = await meet(trick, 'require');
      expect(outcome)
        .to.have.property('failed')
        .that.matches(/server signature does not match/);
    });

    it('a server that refuses us and leaves the connection open is left', async () => {
      const refusal = Buffer.from('SFATAL\0VFATAL\0C28P01\0Mno\0\0', 'latin1');
      const length = Buffer.alloc(4);
      length.writeInt32BE(refusal.length + 4);
      const { outcome } = await meet(
        (client) => client.write(Buffer.concat([Buffer.from('E'), length, refusal])),
        'require',
      );
      expect(outcome).to.have.property('failed', '28P01');
    });
  });

  describe('without a password', () => {
    it('names the variable, and leaves no connection behind', async () => {
      const middle = await Middle.open(null, relay(tls.server.port, 'clear'));
      const { user } = tls.server;
      const settings = { host: '127.0.0.1', port: middle.port, user, database: 'postgres', sslRootCert: undefined };
      const answer = await ask({ ...settings, password: undefined, sslMode: 'disable' });
      expect(answer).to.deep.equal({ failed: 'no-password', next: 'set EC2_DB_PASSWORD in .env.local' });
      await eventually('no connection is left', async () => await Promise.resolve(middle.open === 0), 3_000);
      middle.close();
    });

    it('needs none where the server asks for none', async () => {
      await tls.allow(['host all trusted all trust']);
      const settings = { ...connectionTo(tls.server, 'require'), user: 'trusted', password: undefined };
      expect(await ask(settings)).to.deep.equal(yes);
    });
  });
});
