// An identity provider of the tests' own, and requests as applications make them:
// in one transaction that first proves, by a token or a ticket, who asks.
import { randomUUID } from 'node:crypto';
import * as jose from 'jose';
import { makeKey, transaction } from './support.mjs';

const ISSUER = 'https://login.example';
const AUDIENCE = 'https://api.example';

export class Provider {
  /** Trusted by the database from now on; its tokens name tenants by their slug. */
  static async create(db) {
    const self = new Provider();
    self.db = db;
    self.key = await makeKey('ES256');
    await db.issuer(ISSUER, AUDIENCE, { keys: [self.key.jwk] });
    return self;
  }

  /** A principal with memberships [[tenant id, role, affiliation id]]; its id and the subject of its tokens. */
  async person(...memberships) {
    const subject = randomUUID();
    const id = await this.db.principal(`${subject}@people.example`, {}, [[ISSUER, subject]]);
    for (const [tenant, role, affiliation] of memberships)
      await this.db.value('SELECT bulwark.membership_grant($1, $2, $3, $4)', id, tenant, role, affiliation ?? null);
    return { id, subject };
  }

  token({ subject }, tenant, lifetime = '5 minutes') {
    return new jose.SignJWT({ tenant })
      .setProtectedHeader({ alg: 'ES256', kid: this.key.kid })
      .setIssuer(ISSUER).setAudience(AUDIENCE).setSubject(subject)
      .setIssuedAt().setExpirationTime(lifetime)
      .sign(this.key.key);
  }

  /** A ticket for client's login. */
  async ticket(client, person, tenant) {
    const token = await this.token(person, tenant);
    return transaction(client, async () => {
      await client.query('SELECT bulwark.authenticate($1)', [token]);
      return (await client.query('SELECT bulwark.ticket_issue() AS ticket')).rows[0].ticket;
    });
  }
}

/** Prove an identity by a ticket or a token, always as a bound parameter. */
export const prove = (client, proof) => proof.startsWith('bwt1.')
  ? client.query("SELECT set_config('bulwark.ticket', $1, true)", [proof])
  : client.query('SELECT bulwark.authenticate($1)', [proof]);

/** A request; proof null: of nobody. */
export async function request(client, proof, work) {
  await client.query('BEGIN');
  try {
    if (proof !== null) await prove(client, proof);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}
