// A log made by hand, in the formats of docs/file-formats.md, without a server: what a
// verifier is tried on where no server would make it.
import { createHash, generateKeyPairSync, randomBytes, randomUUID, sign } from 'node:crypto';
import { Stack, leafHash, subtrees } from './verifier.mjs';

export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const uint = (value, bytes) => {
  const out = Buffer.alloc(bytes);
  for (let i = bytes - 1, v = BigInt(value); i >= 0; i--, v >>= 8n) out[i] = Number(v & 0xffn);
  return out;
};
const varint = value => {
  const out = [];
  for (let v = BigInt(value); ; v >>= 7n) {
    if (v < 0x80n) return Buffer.from([...out, Number(v)]);
    out.push(Number(v & 0x7fn) | 0x80);
  }
};
const string = text => Buffer.concat([varint(Buffer.byteLength(text)), Buffer.from(text)]);
const uuidBytes = id => Buffer.from(id.replaceAll('-', ''), 'hex');
export const b64 = bytes => bytes.toString('base64');

export class SigningKey {
  constructor(origin) {
    const pair = generateKeyPairSync('ed25519');
    const raw = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
    const bytes = Buffer.concat([Buffer.of(1), raw]);
    this.secret = pair.privateKey;
    this.origin = origin;
    this.hash = sha256(origin, Buffer.of(10), bytes).subarray(0, 4);
    this.vkey = `${origin}+${this.hash.toString('hex')}+${b64(bytes)}`;
  }

  line(text) {
    return `\u2014 ${this.origin} ${b64(Buffer.concat([this.hash, sign(null, Buffer.from(text), this.secret)]))}\n`;
  }
}

const codes = { insert: 1, update: 2, delete: 3, truncate: 4, read: 5, ddl: 9, retention: 10, configuration: 11 };
/** The tags of shape and images that an action has. */
const images = { insert: [10, 12], update: [10, 11, 12], delete: [10, 11] };

export class Forge {
  constructor() {
    this.id = randomUUID();
    this.origin = `bulwark/${this.id}`;
    this.keys = [new SigningKey(this.origin)];
    this.signers = this.keys;
    this.running = [];
    this.incarnation = 1;
    this.clock = 1_700_000_000_000_000n;
    this.next = null;	// the key that a checkpoint names as the one that follows
    this.stack = new Stack();
    this.blocks = [];
    this.entries = 0;
    this.xid = 1000n;
    this.before = Buffer.alloc(32);
    this.table = 'public.t';
    this.shape = Buffer.concat([Buffer.of(1), string('public.t'), varint(16384), varint(1),
      string('a'), string('text'), Buffer.of(8), varint(1)]);
    this.shapeId = sha256(this.shape).subarray(0, 16);
  }

  get vkey() { return this.keys[0].vkey; }

  /** An entry, not in the tree yet; manifest: null, 'alone', or {first, count, digest}; tags: of its shape and images. */
  entry({ action = 'insert', source = 1, metadata, xid = this.xid, sequence = 1n, incarnation = this.incarnation, entryId = BigInt(++this.entries),
    manifest = 'alone', tags = images[action] ?? [], columns = 1 } = {}) {
    const image = Buffer.concat([varint(columns), ...Array(columns).fill(Buffer.concat([Buffer.of(1), string(`value ${entryId}`)]))]);
    const content = Buffer.concat([Buffer.of(1, 0), randomBytes(16),
      Buffer.of(1, 0), string(String(entryId)),
      ...metadata ? [Buffer.of(9, 0), string(metadata)] : [],
      ...tags.map(tag => tag === 10 ? Buffer.concat([Buffer.of(10, 0), string(this.shapeId)]) : Buffer.concat([Buffer.of(tag, 0), varint(image.length), image]))]);
    const time = 1_700_000_000_000_000n + entryId * 1_234_567n;
    const actor = randomUUID(), tenant = randomUUID();
    const code = codes[action] ?? 0;
    const flags = 0x0b | (manifest === 'alone' ? 0x40 : manifest ? 0x20 : 0);
    const record = Buffer.concat([Buffer.of(1, flags, code, source), varint(incarnation), varint(1), varint(entryId), varint(xid),
      varint(sequence), uint(BigInt.asUintN(64, time), 8), sha256(content), uuidBytes(actor), uuidBytes(tenant), string('shop_app'),
      ...code ? [] : [string(action)], string(this.table),
      ...manifest?.digest ? [varint(manifest.first), varint(manifest.count), manifest.digest] : []]);
    return {
      entryId, content, leaf: Buffer.concat([uuidBytes(this.id), record]), xid,
      fields: {
        entry_id: Number(entryId), occurred_at: new Date(Number(time / 1000n)).toISOString().replace('Z', `${String(time % 1000n).padStart(3, '0')}+00:00`),
        source: [null, 'captured', 'asserted', 'system'][source], action, tenant_id: tenant, affiliation: null, actor_id: actor, actor_email: null,
        actor_proof: 'token', assumed_by: null, db_role: 'shop_app', entity_type: this.table, entity_id: String(entryId),
        metadata: metadata ? JSON.parse(metadata) : null, old: tags.includes(11) ? { a: `value ${entryId}` } : null, new: tags.includes(12) ? { a: `value ${entryId}` } : null,
      },
    };
  }

  /** A transaction of n entries; manifests: what the entries have, where it is not the last one's over all. */
  transaction(n, { manifests = (i, over) => i < n ? null : n === 1 ? 'alone' : over(1, i), ...options } = {}) {
    this.xid += 1n + BigInt(Math.floor(Math.random() * 3));
    const hashes = [];
    const over = (first, last) => ({ first, count: last - first + 1, digest: sha256(...hashes.slice(first - 1, last - 1)) });
    return Array.from({ length: n }, (_, i) => {
      const entry = this.entry({ ...options, sequence: BigInt(i + 1), manifest: manifests(i + 1, over) });
      hashes.push(leafHash(entry.leaf));
      return entry;
    });
  }

  /** Seal transactions as one block; this.running: those that its snapshot shows in progress. */
  seal(...transactions) {
    const first = this.stack.size;
    const entries = transactions.flat();
    for (const entry of entries) {
      entry.index = Number(this.stack.size);
      entry.fields.leaf_index = entry.index;
      this.stack.push(leafHash(entry.leaf));
    }
    let last = 0n;
    const runs = Buffer.concat([varint(transactions.length), ...transactions.map(t => {
      const step = t[0].xid - last;
      last = t[0].xid;
      return Buffer.concat([varint(step), varint(t.length)]);
    })]);
    const root = this.stack.root();
    const header = Buffer.concat([Buffer.of(1), uuidBytes(this.id), uint(this.incarnation, 4), uint(this.blocks.length, 8), uint(first, 8),
      uint(this.stack.size, 8), root, this.before, uint(this.clock + BigInt(this.blocks.length) * 1_000_000n, 8),
      uint(7_000_000_000_000_000_000n, 8), uint(1, 4), uint(this.running[0] ?? this.xid + 1n, 8), uint(this.xid + 1n, 8),
      uint(this.running.length, 4), ...this.running.map(xid => uint(xid, 8)), sha256(runs)]);
    this.before = sha256(header);
    const block = { first, size: this.stack.size, header, runs, entries, checkpoint: this.checkpoint(root, header) };
    this.blocks.push(block);
    return block;
  }

  checkpoint(root = this.stack.root(), header = this.blocks.at(-1).header, size = this.stack.size, number = this.blocks.length) {
    const next = this.next ? `next ${this.next.vkey}\n` : '';
    const text = `${this.origin}\n${size}\n${b64(root)}\nblock ${number} ${b64(sha256(header))}\n${next}`;
    return `${text}\n${this.signers.map(key => key.line(text)).join('')}`;
  }

  /** The lines as objects; show(entry) false: left out; blocks(i) false: the whole block. */
  export({ show = () => true, blocks = () => true, content = () => true, whole = false } = {}) {
    const hashes = this.blocks.flatMap(block => block.entries.map(entry => leafHash(entry.leaf)));
    const skip = (first, end) => {
      let at = first;
      return {
        type: 'skip', leaf_index: first, count: end - first,
        nodes: subtrees(BigInt(first), BigInt(end)).map(height => {
          const stack = new Stack();
          for (const hash of hashes.slice(at, at + 2 ** height)) stack.push(hash);
          at += 2 ** height;
          return b64(stack.root());
        }),
      };
    };
    const lines = [{
      type: 'log', version: 1, log_id: this.id, origin: this.origin, keys: this.keys.map(key => key.vkey), tree_size: Number(this.stack.size),
      exported_at: new Date().toISOString(), since: null, until: null, whole,
      incarnations: [{ incarnation: 1, cause: 'created', system_identifier: '7000000000000000000', timeline: 1, tree_size: 0, started_at: new Date().toISOString() }],
    }, { type: 'shape', shape_id: b64(this.shapeId), shape: b64(this.shape) }];
    let shown = 0, skipped = 0, gap = null;
    const leaveOut = (first, end) => {
      skipped += end - first;
      lines.push(skip(first, end));
    };
    this.blocks.forEach((block, i) => {
      if (!blocks(i) && i < this.blocks.length - 1) {
        gap ??= Number(block.first);
        return;
      }
      if (gap !== null) leaveOut(gap, Number(block.first));
      gap = null;
      lines.push({ type: 'block', block: i, header: b64(block.header), runs: b64(block.runs), checkpoint: block.checkpoint });
      let from = null;
      for (const entry of block.entries) {
        if (!show(entry)) {
          from ??= entry.index;
          continue;
        }
        if (from !== null) leaveOut(from, entry.index);
        from = null;
        shown++;
        lines.push({
          type: 'entry', leaf_index: entry.index, leaf: b64(entry.leaf), fields: entry.fields,
          ...content(entry) ? { content: entry.content && b64(entry.content) } : {},
        });
      }
      if (from !== null) leaveOut(from, Number(block.size));
    });
    lines.push({ type: 'end', tree_size: Number(this.stack.size), entries: shown, skipped, pending: 0 });
    return lines;
  }
}
