import fc from 'fast-check'
import t from 'tap'
import { fromBase64, fromHex, fromUtf8, toBase64, toHex } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import { seal } from '../../market/envelope.ts'
import { decodeRecord, formatPath, Path, parsePath, RecordId, type Write } from '../../market/record.ts'
import { protocolLimits, Tag } from '../../market/units.ts'
import { alice, bob, relay } from '../fixtures/keys.ts'

const malformed = { code: 'ERR_MALFORMED' }
const key = `02${'a'.repeat(64)}`

const write = (change: Record<string, unknown> = {}): Write => ({
  type: 'write',
  recordId: 'a',
  ttl: 60,
  tag: '',
  content: 'AAAA',
  relays: [relay.identity],
  ...change,
})
const textOf = async (change?: Record<string, unknown>, timestamp = 1000): Promise<string> =>
  (await seal({ to: bob.identity, timestamp, request: write(change) }, alice)).text

const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~-']
const recordId = fc
  .string({ unit: fc.constantFrom(...alphabet), minLength: 1, maxLength: 128 })
  .filter((id) => !/^[.~-]/.test(id))
const anyKey = fc
  .tuple(fc.constantFrom('02', '03'), fc.uint8Array({ minLength: 32, maxLength: 32 }))
  .map(([prefix, x]) => prefix + toHex(x))

t.test('§4.1: parsePath(formatPath(x)) = x', async (t) => {
  fc.assert(
    fc.property(anyKey, anyKey, recordId, (owner, receiver, id) => {
      const path = formatPath({ owner, receiver, recordId: id })

      t.same(parsePath(path), { owner, receiver, recordId: id })
      t.ok(RecordId.safeParse(id).success)
      t.ok(Path.safeParse(path).success)
    }),
  )
})

t.test('§4.1: what is not a path is refused', async (t) => {
  const paths = [
    '',
    '/',
    `/${key}/outbox/${key}/`,
    `/${key}/outbox/${key}/a/b`,
    `/${key}/outbox/${key}/../a`,
    `/${key}/outbox/${key}/.a`,
    `/${key}/outbox/${key}/-a`,
    `/${key}/outbox/${key}/~a`,
    `/${key}/outbox/${key}/a b`,
    `/${key}/outbox/${key}/a\n`,
    `/${key}/outbox/${key}/é`,
    `/${key}/outbox/${key}/a%2e`,
    `/${key}/outbox/${key}/${'a'.repeat(129)}`,
    `/${key}/inbox/${key}/a`,
    `${key}/outbox/${key}/a`,
    `//${key}/outbox/${key}/a`,
    `/${key.toUpperCase()}/outbox/${key}/a`,
    `/${key.slice(1)}/outbox/${key}/a`,
    `/04${key.slice(2)}/outbox/${key}/a`,
  ]
  for (const path of paths) {
    t.throws(() => parsePath(path), malformed, path)
    t.notOk(Path.safeParse(path).success, path)
  }
  t.ok(parsePath(`/${key}/outbox/${key}/${'a'.repeat(128)}`))
})

t.test('§4.1: a record knows its path, bytes, pulls and end', async (t) => {
  const record = decodeRecord(await textOf({ content: 'AAEC', maxPulls: 9, ttl: 2 }))

  t.equal(record.path, `/${alice.identity}/outbox/${bob.identity}/a`)
  t.same([...record.content], [0, 1, 2])
  t.equal(record.expires, 3000)
  t.equal(record.maxPulls, 9)
})

t.test('§4.3: maxPulls is 4 where the record does not say', async (t) => {
  t.equal(decodeRecord(await textOf()).maxPulls, 4)
  for (const maxPulls of [0, -1, 1.5, 2 ** 53, '4', null]) {
    const text = JSON.stringify(maxPulls)
    const changed = (await textOf({ maxPulls: 7 })).replace('"maxPulls":7', `"maxPulls":${text}`)
    t.throws(() => decodeRecord(changed), malformed, text)
  }
})

t.test('§4.2: content is the one padded base64 spelling of at least one byte', async (t) => {
  for (const content of ['QQ==', 'QUI=', 'QUJD', '+/+/'])
    t.ok(decodeRecord(await textOf({ content })), content)
  const wrong = [
    '',
    '====',
    'QQ',
    'QQ=',
    'QR==',
    'QUJ=',
    'QUJD=',
    'QUJDQQ',
    '-_-_',
    'QU JD',
    'QUJD\n',
    ' QUJD',
    'QUJD====',
    'é===',
  ]
  for (const content of wrong) {
    const text = await textOf({ content })
    t.throws(() => decodeRecord(text), malformed, content)
  }
})

t.test('base64: fromBase64(toBase64(x)) = x', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const text = toBase64(bytes)
      t.same(Uint8Array.from(fromBase64(text)), bytes)
    }),
  )
})

t.test('base64 and hex have one spelling of any bytes', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'AZaz09+/=-_ \n') }), (text) => {
      let bytes: Uint8Array
      try {
        bytes = fromBase64(text)
      } catch {
        return
      }
      t.equal(toBase64(bytes), text)
    }),
    { numRuns: 500 },
  )
  for (const text of ['A', 'AB', 'zz', '0', ' 00', '00\n', '0x00'])
    t.throws(() => fromHex(text), malformed, text)
  t.throws(() => fromUtf8(Uint8Array.of(0xc0, 0x80)), malformed, 'overlong UTF-8')
})

t.test('§4.5: a record ends ttl seconds after its timestamp, up to the last safe millisecond', async (t) => {
  const last = Number.MAX_SAFE_INTEGER
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 2 ** 31 }), async (timestamp, ttl) => {
      t.equal(decodeRecord(await textOf({ ttl }, timestamp)).expires, timestamp + ttl * 1000)
    }),
    { numRuns: 30 },
  )
  t.equal(decodeRecord(await textOf({ ttl: 1 }, last - 1000)).expires, last)
  for (const [ttl, timestamp] of [
    [1, last - 999],
    [1, last],
    [9_007_199_254_741, 0],
    [last, 0],
    [last, last],
  ] as const) {
    const text = await textOf({ ttl }, timestamp)
    t.throws(() => decodeRecord(text), malformed, `${timestamp} + ${ttl} s`)
  }
  for (const ttl of [0, -1]) {
    const text = await textOf({ ttl })
    t.throws(() => decodeRecord(text), malformed, `ttl ${ttl}`)
  }
})

t.test('§4.2: a tag is 0 to 128 UTF-8 bytes without control characters', async (t) => {
  const good = [
    '',
    'a',
    'a b',
    'é'.repeat(64),
    '\u{1F600}'.repeat(32),
    'a'.repeat(protocolLimits.tagBytes),
    '"\\/',
  ]
  const bad = [
    'a'.repeat(129),
    'é'.repeat(65),
    '\u{1F600}'.repeat(33),
    '\0',
    'a\n',
    '\x7f',
    '\x80',
    '\x9f',
    '\uD800',
  ]
  for (const tag of good) {
    t.ok(Tag.safeParse(tag).success, tag)
    t.equal(decodeRecord(await textOf({ tag })).msg.request.tag, tag)
  }
  for (const tag of bad) t.notOk(Tag.safeParse(tag).success, JSON.stringify(tag))
})

t.test('§4.2: every string that is a tag survives the wire', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 40 }), async (tag) => {
      const controls = /\p{Cc}/u.test(tag)
      const fits = new TextEncoder().encode(tag).length <= 128
      t.equal(Tag.safeParse(tag).success, !controls && fits)
      if (!controls && fits) t.equal(decodeRecord(await textOf({ tag })).msg.request.tag, tag)
    }),
    { numRuns: 60 },
  )
})

t.test('§4.2: a record names one to eight different relays', async (t) => {
  const keys = Array.from({ length: 9 }, (_, i) => `02${'abcdef012'[i]?.repeat(64)}`)
  t.ok(decodeRecord(await textOf({ relays: keys.slice(0, 8) })))
  for (const relays of [[], keys, [keys[0], keys[0]], ['ab'], [keys[0]?.toUpperCase()]]) {
    const { msg } = JSON.parse(await textOf({ relays: keys.slice(1, 2) }))
    msg.request.relays = relays
    t.throws(() => decodeRecord(canonicalize({ msg })), malformed, JSON.stringify(relays))
  }
})

t.test('§4.2: no field of a record may be missing or unknown', async (t) => {
  const { msg } = JSON.parse(await textOf()) as {
    msg: Record<string, unknown> & { request: Record<string, unknown> }
  }
  for (const field of Object.keys(msg)) {
    const { [field]: _, ...rest } = msg
    t.throws(() => decodeRecord(canonicalize({ msg: rest })), malformed, `no ${field}`)
  }
  for (const field of Object.keys(msg.request)) {
    const { [field]: _, ...request } = msg.request
    t.throws(() => decodeRecord(canonicalize({ msg: { ...msg, request } })), malformed, `no ${field}`)
  }
  for (const field of ['nonce', 'x', 'version']) {
    t.throws(
      () => decodeRecord(canonicalize({ msg: { ...msg, [field]: '0011223344556677' } })),
      malformed,
      field,
    )
    const request = { ...msg.request, [field]: 1 }
    t.throws(() => decodeRecord(canonicalize({ msg: { ...msg, request } })), malformed, `request.${field}`)
  }
  t.throws(() => decodeRecord(canonicalize({ msg, more: 1 })), malformed, 'beside msg')
})
