import fc from 'fast-check'
import t from 'tap'
import { concat, fromBase64, toBase64, toUtf8 } from '../../market/bytes.ts'
import {
  decodePayload,
  encodePayload,
  paddedLength,
  type Payload,
  payloadLimits,
  safeName,
} from '../../market/payload.ts'
import { protocolLimits } from '../../market/units.ts'

const malformed = { code: 'ERR_MALFORMED' }
const key = `02${'a'.repeat(64)}`
const hash = 'b'.repeat(64)

/** Plaintext around any head, as another client may write it. */
const plain = (head: string, rest?: Uint8Array): Uint8Array =>
  toUtf8(toBase64(rest === undefined ? toUtf8(head) : concat(toUtf8(head), Uint8Array.of(0), rest)))

const payloads: Payload[] = [
  { type: 'text', text: 'hello' },
  { type: 'text', text: '', subject: '', thread: 'a' },
  { type: 'post', text: 'a\0b\n\u{1F600}', subject: 'news' },
  { type: 'file', name: 'a.txt', size: 0, sha256: hash, chunkBytes: 1, chunks: [] },
  { type: 'file', name: 'a', mime: 'text/plain', size: 3, sha256: hash, chunkBytes: 2, chunks: ['a', 'b'] },
  { type: 'file', name: 'a', size: 3, sha256: hash, chunkBytes: 2, parts: ['a'] },
  { type: 'ack', relay: key, pulls: [{ recordId: 'a', re: hash, bytes: 1 }] },
  { type: 'identity', identity: { msg: { any: 1 } } },
  { type: 'channel', name: 'friends', key: hash, members: [key], epoch: 0 },
  { type: 'envelope', msg: { any: [1, null] } },
  { type: 'post', text: 'and so on', previous: 'abc' },
  { type: 'text', text: 'see attached', subject: 'plans', files: ['a', 'b'] },
  {
    ...{ type: 'folder', name: 'shared', device: '0123456789abcdef', sequence: 2, previous: 'a', size: 9 },
    sha256: hash,
    pieces: [
      { sha256: hash, length: 4, at: 'a', offset: 0 },
      { sha256: hash, length: 5 },
    ],
  },
  {
    type: 'channel',
    name: 'friends',
    key: hash,
    members: [key],
    epoch: 1,
    history: [{ epoch: 0, key: hash }],
  },
]

t.test('§5: decode(encode(x)) = x for every type of payload', async (t) => {
  for (const payload of payloads) {
    t.same(decodePayload(encodePayload(payload)).payload, payload, payload.type)
  }
})

t.test('§5: a chunk carries any bytes, and its size says where they end', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      const read = decodePayload(encodePayload({ type: 'chunk', size: bytes.length }, bytes))

      t.same(Uint8Array.from(read.bytes), bytes)
      t.same(read.payload, { type: 'chunk', size: bytes.length })
    }),
    { numRuns: 50 },
  )
})

t.test('§5: text is any well-formed Unicode, zero characters included', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      t.same(decodePayload(encodePayload({ type: 'text', text })).payload, { type: 'text', text })
    }),
    { numRuns: 100 },
  )
})

t.test(
  'a head nested deeper than anything signed is no payload; brackets in strings do not count',
  async (t) => {
    const nested = (levels: number) => `{"type":"x","a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
    const brackets = `"${'[{'.repeat(20_000)}`

    t.match(decodePayload(plain(nested(protocolLimits.jsonDepth))), { payload: { type: 'unknown' } })
    for (const levels of [protocolLimits.jsonDepth + 1, 20_000])
      t.throws(() => decodePayload(plain(nested(levels))), malformed)
    const text = { type: 'text' as const, text: brackets }
    t.same(decodePayload(encodePayload(text)).payload, text)
  },
)

t.test('§5: lengths are padded to 256, 1024, 4096, then in steps of five per cent', async (t) => {
  const table = [
    [0, 256],
    [256, 256],
    [257, 1024],
    [1024, 1024],
    [1025, 4096],
    [4096, 4096],
    [4097, 4301],
    [4301, 4301],
    [4302, 4517],
  ] as const
  for (const [length, padded] of table) t.equal(paddedLength(length), padded, `${length}`)
  fc.assert(
    fc.property(fc.integer({ min: 4097, max: 100_000_000 }), (length) => {
      const padded = paddedLength(length)
      t.ok(padded >= length && padded < length * 1.06, `${length}`)
      t.equal(paddedLength(padded), padded)
    }),
    { numRuns: 100 },
  )
  const lengths = ['a', 'a'.repeat(200)].map((text) => encodePayload({ type: 'text', text }).length)
  t.equal(lengths[0], lengths[1])
  t.equal(
    fromBase64(new TextDecoder().decode(encodePayload({ type: 'chunk', size: 4000 }, new Uint8Array(4000))))
      .length,
    4096,
  )
})

t.test('§5: an unknown type, or a known one that does not fit its schema, is kept as it is', async (t) => {
  const heads: unknown[] = [
    { type: 'vote', choice: 3 },
    { type: 'text' },
    { type: 'text', text: '\uD800' },
    { type: 'file', name: 'a', size: 1, sha256: hash, chunkBytes: 1 },
    { type: 'file', name: 'a', size: 1, sha256: hash, chunkBytes: 1, chunks: ['a'], parts: ['b'] },
    { type: 'file', name: 'a', size: -1, sha256: hash, chunkBytes: 1, chunks: [] },
    { type: 'file', name: 'a', size: 1, sha256: hash, chunkBytes: 1, chunks: ['../a'] },
    { type: 'file', name: '', size: 1, sha256: hash, chunkBytes: 1, chunks: [] },
    { type: 'ack', relay: key, pulls: [] },
    { type: 'channel', name: 'a', key: 'short', members: [], epoch: 0 },
    { no: 'type' },
    [],
    5,
    null,
  ]
  for (const head of heads) {
    const json = JSON.stringify(head)
    const read = decodePayload(plain(json, Uint8Array.of(1, 2)))
    t.same(read.payload, { type: 'unknown', head: JSON.parse(json) }, json)
    t.same([...read.bytes], [1, 2])
  }
})

t.test('§5: unknown fields of a known type are ignored, and padding is not demanded', async (t) => {
  t.same(decodePayload(plain('{"type":"text","text":"a","mood":"good"}')).payload, {
    type: 'text',
    text: 'a',
  })
  const pull = { recordId: 'a', re: hash, bytes: 1 }
  const ack = JSON.stringify({ type: 'ack', relay: key, pulls: [{ ...pull, at: 5 }] })
  t.same(decodePayload(plain(ack)).payload, { type: 'ack', relay: key, pulls: [pull] })
  t.same(decodePayload(plain(' {"text":"a", "type":"text"}\n')).payload, { type: 'text', text: 'a' })
})

t.test('§5: more than the limits of a known type is not that type', async (t) => {
  const pull = { recordId: 'a', re: hash, bytes: 1 }
  const many: unknown[] = [
    { type: 'ack', relay: key, pulls: Array(payloadLimits.ackPulls + 1).fill(pull) },
    { ...payloads[4], chunks: Array(payloadLimits.chunksPerPart + 1).fill('a') },
    { ...payloads[5], parts: Array(payloadLimits.parts + 1).fill('a') },
    { ...payloads[8], members: Array(payloadLimits.members + 1).fill(key) },
    { ...payloads[8], history: Array(payloadLimits.epochs).fill({ epoch: 0, key: hash }) },
    { ...payloads[8], name: 'a'.repeat(payloadLimits.nameLength + 1) },
  ]
  for (const head of many) t.equal(decodePayload(plain(JSON.stringify(head))).payload.type, 'unknown')
})

t.test('§5: what is no payload is refused', async (t) => {
  const wrong: Record<string, Uint8Array> = {
    'not base64': toUtf8('{"type":"text"}'),
    'not padded': toUtf8('QQ'),
    'not UTF-8': Uint8Array.of(0xff, 0xfe),
    'head not UTF-8': toUtf8(toBase64(Uint8Array.of(0x22, 0xff, 0x22))),
    'not JSON': plain('{"type":'),
    empty: plain(''),
    'a zero first': plain('', Uint8Array.of(1)),
    'a chunk shorter than it says': plain('{"type":"chunk","size":3}', Uint8Array.of(1, 2)),
    'a chunk without bytes': plain('{"type":"chunk","size":1}'),
  }
  for (const [what, bytes] of Object.entries(wrong)) t.throws(() => decodePayload(bytes), malformed, what)
})

t.test('§5: a payload cannot reach a prototype', async (t) => {
  const { payload } = decodePayload(plain('{"type":"text","text":"a","__proto__":{"admin":true}}'))
  t.equal((payload as { admin?: boolean }).admin, undefined)
})

t.test('§5: a name is made safe to show and to use', async (t) => {
  const table: Record<string, string> = {
    'report.pdf': 'report.pdf',
    'été 2026.txt': 'été 2026.txt',
    '../../etc/passwd': '__.._etc_passwd',
    '..\\..\\boot.ini': '__.._boot.ini',
    '/etc/passwd': '_etc_passwd',
    'C:\\a': 'C__a',
    '..': '_',
    '.': '_',
    '': '_',
    ' ': '_',
    '.bashrc': '_bashrc',
    'a\0.txt': 'a_.txt',
    'a\r\nb': 'a__b',
    'a\x1b[31m': 'a_[31m',
    'a\x9b31m': 'a_31m',
    'photo\u202Egpj.exe': 'photo_gpj.exe',
    'a\u200Bb\u2066c\uFEFF': 'a_b_c_',
    'a\u2028b\u2029': 'a_b_',
    'a\uD800': 'a_',
    'a?b*c|d<e>f"g:h': 'a_b_c_d_e_f_g_h',
    CON: '_CON',
    'con.txt': '_con.txt',
    'Nul .txt': '_Nul .txt',
    com1: '_com1',
    'LPT9.log': '_LPT9.log',
    'COM\u00B9': '_COM\u00B9',
    'console.txt': 'console.txt',
    'a. ': 'a',
    'a...': 'a',
    'e\u0301': 'é',
  }
  for (const [given, safe] of Object.entries(table)) t.equal(safeName(given), safe, encodeURI(safe))
})

t.test('§5: whatever the name was, its safe form is a plain file name', async (t) => {
  const pieces = fc.constantFrom(
    '..',
    '/',
    '\\',
    'a',
    '\0',
    '\u202E',
    '.',
    ' ',
    'con',
    '\u{1F600}',
    '漢',
    '\uDC00',
    ':',
  )
  const any = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.array(pieces, { maxLength: 300 }).map((a) => a.join('')),
  )
  fc.assert(
    fc.property(any, (given) => {
      const safe = safeName(given)

      t.notMatch(safe, /[/\\:*?"<>|\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u)
      t.notMatch(safe, /^[.\s]|[.\s]$/)
      t.notMatch(safe, /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i)
      t.ok(safe.length > 0 && toUtf8(safe).length <= 200)
      t.equal(safeName(safe), safe)
    }),
    { numRuns: 300 },
  )
})
