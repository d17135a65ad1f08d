// Keys and tokens for bench/authenticate, made with Node's own crypto.
import { generateKeyPairSync, sign, constants } from 'node:crypto';

const b64 = (x) => Buffer.from(typeof x === 'string' ? x : JSON.stringify(x)).toString('base64url');
const now = Math.floor(Date.now() / 1000);
const claims = { iss: 'bench', aud: 'bench', sub: 'bench-subject', tenant: 'bench-7', iat: now, exp: now + 3600 };
const kinds = {
	ES256: [generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256', 'sha256', { dsaEncoding: 'ieee-p1363' }],
	EDDSA: [generateKeyPairSync('ed25519'), 'EdDSA', null, {}],
	RS256: [generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256', 'sha256', { padding: constants.RSA_PKCS1_PADDING }],
};
const keys = [];
for (const [name, [pair, alg, digest, options]] of Object.entries(kinds)) {
	keys.push({ ...pair.publicKey.export({ format: 'jwk' }), kid: name, alg });
	const input = `${b64({ alg, kid: name, typ: 'JWT' })}.${b64(claims)}`;
	console.log(`${name}='${input}.${sign(digest, Buffer.from(input), { key: pair.privateKey, ...options }).toString('base64url')}'`);
}
console.log(`JWKS='${JSON.stringify({ keys })}'`);
