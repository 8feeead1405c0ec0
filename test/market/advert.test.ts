/** Adverts (docs/protocol.md §12.1, §12.2, §12.3): what a reader takes from strangers, and what it keeps. */
import t from 'tap'
import {
  type Advert,
  type AdvertClaims,
  decodeAdvert,
  isRevocation,
  openAdvert,
  pricesOf,
  sealAdvert,
  stampText,
} from '../../market/advert.ts'
import { AdvertBook } from '../../market/advert-book.ts'
import { canonicalize } from '../../market/canonical.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { leadingZeroBits, stampDigest } from '../../market/stamp.ts'
import {
  advertiser,
  cheapBits,
  claimsOf,
  futureMs,
  hourMs,
  lifeMs,
  makeAdvert,
  stampOf,
} from '../fixtures/adverts.ts'

const now = 1_800_000_000_000
const policy = { now, bits: cheapBits }
const relay = advertiser(1)
const take = (text: string, given: Partial<typeof policy & { network: 'main' }> = {}) =>
  openAdvert(text, { ...policy, ...given })

/** An advert with other fields and the old stamp and signature. */
const altered = (advert: Advert, change: object): string => canonicalize({ ...advert, ...change })
/** With a stamp that fits, so that only the signature can tell. */
const restamped = (
  { signature, proofOfWork: _, ...claims }: Advert,
  change: Partial<AdvertClaims>,
): string => {
  const changed = { ...claims, ...change }
  return canonicalize({ ...changed, proofOfWork: stampOf(changed), signature })
}

t.test('§12.1: a good advert is taken, and says what it said', async (t) => {
  const claims = claimsOf(relay, now)
  const { text, hash, bits } = await sealAdvert(claims, stampOf(claims), relay)

  const taken = take(text)
  t.match(taken, { text, hash, bits, address: { url: 'https://relay.example', key: relay.identity } })
  const { proofOfWork, signature: _, ...said } = taken.advert
  t.same(said, claims)
  t.equal(bits, leadingZeroBits(stampDigest(stampText(claims), proofOfWork)))
  t.same(pricesOf(taken.advert), { storageGBDay: 4000, egressGB: 500, ingressGB: 10 })
  t.notOk(isRevocation(taken.advert))
  const { ingressCostPerGig: __, ...free } = claims
  const without = await sealAdvert(free, stampOf(free), relay)
  t.equal(pricesOf(take(without.text).advert).ingressGB, 0)
})

t.test('§12.1: not one field can be changed, with the work done again or not', async (t) => {
  const { advert } = await makeAdvert(relay, now)
  const changes: Partial<AdvertClaims>[] = [
    { serverPubKey: advertiser(2).identity },
    { address: 'https://thief.example' },
    { storageCostPerGigPerDay: 1 },
    { bandwidthCostPerGig: 1 },
    { ingressCostPerGig: 11 },
    { network: 'test' },
    { features: ['store'] },
    { features: ['batch', 'store'] },
    { limits: { recordBytes: 1 << 21, ttl: 86_400 } },
    { limits: { recordBytes: 1 << 20, ttl: 86_401 } },
    { timestamp: now - 1 },
    { expires: advert.expires + 1 },
    { expires: advert.timestamp },
    { seq: advert.seq + 1 },
  ]
  for (const change of changes) {
    const [name] = Object.keys(change)
    t.throws(() => take(restamped(advert, change)), { code: 'ERR_BAD_SIGNATURE' }, `${name}, stamped again`)
    // The old stamp fits another text once in 2^bits only.
    t.throws(() => take(altered(advert, change), { bits: 16 }), { code: 'ERR_LIMIT' }, `${name}, old stamp`)
  }
  const { advert: other } = await makeAdvert(advertiser(2), now)
  t.throws(() => take(altered(advert, { signature: other.signature })), { code: 'ERR_BAD_SIGNATURE' })
  const nonce = String(BigInt(advert.proofOfWork) + 1n)
  t.throws(() => take(altered(advert, { proofOfWork: nonce })), /./, 'the stamp is signed too')
  const noPoint = `02${'f'.repeat(64)}`
  t.throws(() => take(restamped(advert, { serverPubKey: noPoint })), { code: 'ERR_BAD_SIGNATURE' })
})

t.test('§12.1: what is no advert is refused before its signature is looked at', async (t) => {
  const { advert, text } = await makeAdvert(relay, now)
  const refused: Record<string, [code: string, text: string]> = {
    'too large': ['ERR_TOO_LARGE', `${text}${' '.repeat(4096)}`],
    'not canonical': ['ERR_MALFORMED', ` ${text}`],
    'not JSON': ['ERR_MALFORMED', text.slice(1)],
    'a name twice': ['ERR_MALFORMED', text.replace('{', '{"address":"https://a.example",')],
    'an unknown field': ['ERR_MALFORMED', altered(advert, { zero: 0 })],
    'a field is missing': ['ERR_MALFORMED', altered(advert, {}).replace('"protocol":1,', '')],
    'another type': ['ERR_MALFORMED', altered(advert, { type: 'serverbroadcast' })],
    'another protocol': ['ERR_MALFORMED', altered(advert, { protocol: 2 })],
    'a price below zero': ['ERR_MALFORMED', altered(advert, { bandwidthCostPerGig: -1 })],
    'a price as text': ['ERR_MALFORMED', altered(advert, { bandwidthCostPerGig: '1' })],
    'an absurd price': ['ERR_MALFORMED', altered(advert, { bandwidthCostPerGig: 10 ** 13 })],
    'prices without a network': ['ERR_MALFORMED', altered(advert, { network: null })],
    'an unknown network': ['ERR_MALFORMED', altered(advert, { network: 'moon' })],
    'the key of another in its address': [
      'ERR_MALFORMED',
      altered(advert, { address: `https://relay.example#${advertiser(2).identity}` }),
    ],
    'an address with a password': [
      'ERR_MALFORMED',
      altered(advert, { address: 'https://a:b@relay.example' }),
    ],
    'an address of another kind': ['ERR_MALFORMED', altered(advert, { address: 'file:///etc/passwd' })],
    'a feature with a blank': ['ERR_MALFORMED', altered(advert, { features: ['a b'] })],
    'a feature twice': ['ERR_MALFORMED', altered(advert, { features: ['a', 'a'] })],
    'too many features': [
      'ERR_MALFORMED',
      altered(advert, { features: Array.from({ length: 65 }, (_, at) => `f${at}`) }),
    ],
    'it lives too long': ['ERR_MALFORMED', altered(advert, { expires: now + lifeMs + 1 })],
    'it ends before it begins': ['ERR_MALFORMED', altered(advert, { expires: now - 1 })],
    'a number of the future': ['ERR_MALFORMED', altered(advert, { seq: now + futureMs + 1 })],
    'a nonce with a zero before it': ['ERR_MALFORMED', altered(advert, { proofOfWork: '01' })],
    'a nonce that is too long': ['ERR_MALFORMED', altered(advert, { proofOfWork: '1'.repeat(21) })],
    'key 1': ['ERR_MALFORMED', altered(advert, { serverPubKey: ANYONE_KEY })],
    'a signature that is no DER': ['ERR_MALFORMED', altered(advert, { signature: 'ab' })],
  }
  for (const [what, [code, wrong]] of Object.entries(refused)) t.throws(() => take(wrong), { code }, what)
})

t.test('§12.3: work, network and time are what the reader asks for', async (t) => {
  const weak = await makeAdvert(relay, now, {}, { bits: 0, below: cheapBits })
  t.throws(() => take(weak.text), { code: 'ERR_LIMIT', extras: { bits: cheapBits } })
  t.throws(() => take(weak.text, { bits: undefined as never }), { code: 'ERR_LIMIT', extras: { bits: 20 } })
  t.ok(take(weak.text, { bits: weak.bits }))
  const test = await makeAdvert(relay, now, { network: 'test' })
  t.throws(() => take(test.text, { network: 'main' }), { code: 'ERR_FORBIDDEN' })
  t.ok(take(test.text))
  const none = { network: null, storageCostPerGigPerDay: 0, bandwidthCostPerGig: 0, ingressCostPerGig: 0 }
  t.ok(take((await makeAdvert(relay, now, none)).text, { network: 'main' }), 'who takes no coins is for all')

  const { text } = await makeAdvert(relay, now)
  t.ok(take(text, { now: now - futureMs }))
  t.throws(() => take(text, { now: now - futureMs - 1 }), { code: 'ERR_STALE' })
  t.ok(take(text, { now: now + 24 * hourMs - 1 }))
  t.throws(() => take(text, { now: now + 24 * hourMs }), { code: 'ERR_EXPIRED' })
})

t.test('§12.3: of the adverts of one relay the newest holds, in whatever order they come', async (t) => {
  const made = (at: number) => makeAdvert(relay, now + at, { storageCostPerGigPerDay: 1000 * (3 - at) })
  const [first, second, third] = await Promise.all([made(0), made(1), made(2)])
  const twin = await makeAdvert(relay, now + 2, { address: 'https://twin.example' })
  const book = new AdvertBook({ most: 10 })

  t.equal(book.offer(second.text, policy), 'added')
  t.equal(book.offer(first.text, policy), 'older', 'nobody brings the old price back')
  t.equal(book.offer(third.text, policy), 'replaced')
  t.equal(book.offer(third.text, policy), 'known')
  t.equal(book.offer(twin.text, policy), 'older', 'of two with one number the one that came first')
  t.throws(() => book.offer(restamped(third.advert, { seq: now + 5, timestamp: now + 5 }), policy), {
    code: 'ERR_BAD_SIGNATURE',
  })
  t.equal(book.get(relay.identity, now)?.text, third.text)
  t.same([...book.live(now)].length, 1)

  const revocation = await makeAdvert(relay, now + 3, { expires: now + 3 })
  t.equal(book.offer(revocation.text, policy), 'replaced')
  t.equal(book.get(relay.identity, now + 3), undefined)
  for (const { text } of [first, second, third]) t.equal(book.offer(text, policy), 'older')
  t.same([...book.live(now + 3)], [])
  t.same([...book.kept(now + 3)].length, 1, 'it is remembered')
  // Even the longest that it could have revoked has expired by then.
  const long = await makeAdvert(relay, now + 2, { expires: now + 2 + lifeMs, seq: now - 1 })
  t.equal(book.offer(long.text, { ...policy, now: now + lifeMs }), 'older')
  const after = now + 3 + lifeMs + futureMs
  t.throws(() => book.offer(long.text, { ...policy, now: after }), { code: 'ERR_EXPIRED' })
  t.equal(book.size, 0, 'and then forgotten')
  t.throws(() => book.offer(revocation.text, { ...policy, now: after }), { code: 'ERR_EXPIRED' })
})

t.test('§12.3: a short advert that is over does not bring back the long one that it replaced', async (t) => {
  const long = await makeAdvert(relay, now, { expires: now + lifeMs })
  const short = await makeAdvert(relay, now + 1, { expires: now + hourMs })
  const book = new AdvertBook({ most: 10 })
  book.offer(long.text, policy)
  book.offer(short.text, policy)

  const later = now + 2 * hourMs
  t.equal(book.offer(long.text, { ...policy, now: later }), 'older')
  t.equal(book.get(relay.identity, later), undefined)
})

t.test('§12.3: a full book drops what cost least work, then the oldest, however many come', async (t) => {
  const dropped: string[] = []
  const own = advertiser(9999)
  const book = new AdvertBook({ most: 50, pinned: own.identity, dropped: (key) => dropped.push(key) })
  const weakOwn = await makeAdvert(own, now - hourMs, {}, { bits: 0, below: 1 })
  t.equal(book.offer(weakOwn.text, { ...policy, bits: 0 }), 'added')
  const made = await Promise.all(
    Array.from({ length: 600 }, (_, at) =>
      makeAdvert(advertiser(at + 1), now - at, { address: `https://r${at}.example` }, { bits: at % 4 }),
    ),
  )

  let refused = 0
  for (const { text } of made) {
    try {
      book.offer(text, { ...policy, bits: 0 })
    } catch (error) {
      t.match(error, { code: 'ERR_BUSY' })
      refused += 1
    }
    if (book.size > 50) t.fail('more than it may hold')
  }
  t.equal(book.size, 50)
  t.equal(dropped.length + refused, 600 - 49)
  const best = made
    .sort((one, other) => other.bits - one.bits || other.advert.timestamp - one.advert.timestamp)
    .slice(0, 49)
  const kept = [...book.live(now)].map(({ text }) => text)
  t.same(kept.sort(), [...best.map(({ text }) => text), weakOwn.text].sort(), 'its own stays')
  // What cannot get in is not verified: its signature may be anything.
  const forged = made.at(-1)!.text.replace(/"signature":"30.*?"/, `"signature":"${weakOwn.advert.signature}"`)
  t.throws(() => book.offer(forged, { ...policy, bits: 0 }), { code: 'ERR_BUSY' })

  const later = now + 25 * hourMs
  book.forget(later)
  t.equal(book.size, 0, 'all have expired')
  const copy = new AdvertBook({ most: 50 })
  for (const { text } of best) copy.restore(decodeAdvert(text), now)
  t.same([...copy.live(now)].length, 49, 'what was kept on disk is taken back unverified')
})

t.test('§12.5: a board takes no second advert of a relay within ten minutes, but a revocation', async (t) => {
  const book = new AdvertBook({ most: 10, paceMs: 600_000 })
  book.offer((await makeAdvert(relay, now)).text, policy)

  for (const ahead of [1, 599_999]) {
    const { text } = await makeAdvert(relay, now + ahead)
    const at = { ...policy, now: now + ahead }
    t.throws(() => book.offer(text, at), { code: 'ERR_LIMIT', extras: { retryAfterMs: 600_000 - ahead } })
  }
  const dated = await makeAdvert(relay, now + 600_000)
  t.throws(() => book.offer(dated.text, policy), { code: 'ERR_LIMIT' }, 'a date of the future does not help')
  const revocation = await makeAdvert(relay, now + 5, { expires: now + 5 })
  t.equal(book.offer(revocation.text, policy), 'replaced')
})
