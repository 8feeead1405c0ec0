/** Hard limits, then points that add up; a set within a budget without neighbours; hearsay that moves little (docs/protocol.md §12.9, §12.10). */
import t from 'tap'
import type { SealedAdvert } from '../../market/advert.ts'
import { chooseSet } from '../../market/choose-set.ts'
import { familyOf, neighbourhoodsOf } from '../../market/neighbours.ts'
import { decodeObservation, encodeObservation, type Observed, opinionOf } from '../../market/observation.ts'
import { ceilSatoshi, quoteUnits } from '../../market/price.ts'
import { assess, type Candidate, type Limits, noEvidence, type Why, weights } from '../../market/score.ts'
import { dayMs } from '../../market/units.ts'
import { monthlySatoshis, patternOf } from '../../market/usage-pattern.ts'
import { advertiser, devnetAdvert } from '../fixtures/adverts.ts'

const now = 1_800_000_000_000
const pattern = { records: 1000, bytes: 1_000_000, ttl: 10 * 86_400, milliPulls: 2000 }
const limits: Limits = { bits: 4 }

const candidate = (sealed: SealedAdvert, said: Partial<Candidate> = {}): Candidate => ({
  ...{ sealed, channels: ['board:https://a.example'], addresses: [], isPrivate: false },
  evidence: noEvidence(now),
  ...said,
})
const advert = (index: number, said: Parameters<typeof devnetAdvert>[2] = {}) =>
  devnetAdvert(advertiser(index), now, { address: `https://relay${index}.site${index}.example`, ...said })
const judge = (all: readonly Candidate[], asked: Limits = limits): Why[] =>
  assess(all, { pattern, limits: asked, now })

t.test('a month of usage is what so many records cost in their whole lives', async (t) => {
  const prices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 20_000 }
  const oneRecord = { bytes: 1_000_000, ttl: 10 * 86_400, maxPulls: 2 }

  const month = monthlySatoshis(pattern, prices)

  // A quote adds the ten seconds by which clocks may differ; a thousand of them come close.
  const quoted = ceilSatoshi(1000n * quoteUnits(oneRecord, prices))
  t.ok(month <= quoted && quoted - month < 5, `${month} of ${quoted}`)
  t.equal(monthlySatoshis(pattern, { storageGBDay: 0, egressGB: 0, ingressGB: 0 }), 0)
  t.equal(monthlySatoshis({ ...pattern, records: 0 }, prices), 0)
})

t.test('own records make a pattern; a first hour is not taken for a habit', async (t) => {
  t.equal(patternOf([], now), undefined)
  const hour = { bytes: 2000, sent: now - 3_600_000, expires: now + dayMs, pulls: 1 }
  t.same(patternOf([hour, { ...hour, bytes: 4000, pulls: 0 }], now), {
    ...{ records: 60, bytes: 3000, milliPulls: 334 },
    ttl: 90_000,
  })
  t.equal(patternOf([{ ...hour, sent: now - 30 * dayMs }], now)?.records, 1)
  const backup = { ...hour, bytes: 10, expires: hour.sent + 365 * dayMs }
  const large = { ...hour, bytes: 990, expires: hour.sent + dayMs }
  t.equal(
    patternOf([backup, large], now)?.ttl,
    4.64 * 86_400,
    'the small one that is kept long weighs little',
  )
})

t.test('every limit that is not kept is named, and such a relay has no score', async (t) => {
  const sealed = await advert(1)
  const bad = { asked: 2, answered: 1, isLastAnswered: false, latencyMs: 5, another: null, quoted: null }
  const quoted = { at: now + 1, prices: { storageGBDay: 9999, egressGB: 100_000, ingressGB: 20_000 } }
  const none = noEvidence(now)
  const table: [string, Limits, Partial<Candidate>][] = [
    ['blocked', { blocked: new Set([sealed.address.key]) }, {}],
    ['network', { network: 'main' }, {}],
    ['private address', {}, { isPrivate: true }],
    ['address family', { families: ['onion', 'ipv6'] }, {}],
    ['stamp', { bits: 60 }, {}],
    ['record bytes', { recordBytes: 10_000_001 }, {}],
    ['ttl', { ttl: 31 * 86_400 }, {}],
    ['features', { features: ['quote', 'listen'] }, {}],
    ['storage price', { most: { storageGBDay: 3999 } }, {}],
    ['egress price', { most: { egressGB: 99_999 } }, {}],
    ['ingress price', { most: { ingressGB: 0 } }, {}],
    ['monthly cost', { monthly: 10 }, {}],
    ['another key', {}, { evidence: { ...none, probes: { ...bad, another: advertiser(2).identity } } }],
    ['dearer', {}, { evidence: { ...none, probes: { ...bad, quoted } } }],
    ['forged', {}, { evidence: { ...none, audits: { ...none.audits, forged: 1 } } }],
    ['unreachable', { mustAnswer: true }, { evidence: { ...none, probes: bad } }],
  ]
  for (const [limit, asked, said] of table) {
    const [why] = judge([candidate(sealed, said)], { bits: 4, ...asked })
    t.same([why?.refused.map((one) => one.limit), why?.score, why?.factors], [[limit], null, null], limit)
  }
  const ahead = candidate(await devnetAdvert(advertiser(1), now + 300_000), {
    evidence: { ...none, probes: { ...bad, quoted: { ...quoted, at: now - 1 } } },
  })
  t.match(judge([ahead])[0]?.refused, [{ limit: 'dearer' }], 'a date in the future hides no quote')
  t.same(judge([candidate(sealed, { isPrivate: true })], { allowPrivate: true })[0]?.refused, [])
  const free = await advert(3, {
    ...{ network: null, storageCostPerGigPerDay: 0, bandwidthCostPerGig: 0, ingressCostPerGig: 0 },
  })
  t.same(
    judge([candidate(free)], { network: 'main' })[0]?.refused,
    [],
    'who takes no coins is of every network',
  )
})

t.test(
  'points add up, weights are a thousand, and what was paid for weighs more than what is told',
  async (t) => {
    t.equal(
      Object.values(weights).reduce((sum, weight) => sum + weight, 0),
      1000,
    )
    const [cheap, dear] = [await advert(1, { storageCostPerGigPerDay: 1000 }), await advert(2)]
    const told = { score: 1000, observers: 9, setAside: 0 }
    const none = noEvidence(now)
    const faithful = { ...none, contracts: { open: 0, kept: 5, broken: 0 } }
    const broke = { ...none, contracts: { open: 0, kept: 5, broken: 2 } }

    const [first, second] = judge([candidate(dear), candidate(cheap)])
    t.same([first?.relay, second?.relay], [cheap.address.key, dear.address.key])
    for (const why of [first, second]) {
      const factors = Object.values(why!.factors!)
      t.equal(
        why?.score,
        factors.reduce((sum, { points }) => sum + points, 0),
      )
      for (const { score, weight, points } of factors)
        t.ok(score >= 0 && score <= 1000 && points === Math.floor((score * weight) / 1000))
    }
    const at = (evidence: Candidate['evidence']) => judge([candidate(dear, { evidence })])[0]!.score!
    t.ok(at(faithful) > at(none) && at(none) > at(broke), 'trust is lost sooner than won')
    t.ok(at({ ...none, opinion: told }) - at({ ...none, opinion: { ...told, score: 0 } }) <= 30, 'bounded')
    t.ok(at(faithful) > at({ ...none, opinion: told }))
    t.equal(judge([candidate(dear)], {})[0]?.factors?.stamp.points, 0, 'the usual work is no merit')
  },
)

t.test('half the price does not make up for one failure in seven', async (t) => {
  const half = { storageCostPerGigPerDay: 2000, bandwidthCostPerGig: 50_000, ingressCostPerGig: 10_000 }
  const probed = (answered: number) => {
    const none = noEvidence(now)
    const probes = { ...none.probes, asked: 20, answered, isLastAnswered: true, latencyMs: 50 }
    return { evidence: { ...none, probes } }
  }
  const [cheap, sound] = [await advert(1, half), await advert(2)]
  const bestOf = (answered: number) =>
    judge([candidate(cheap, probed(answered)), candidate(sound, probed(20))])[0]?.relay

  t.equal(bestOf(20), cheap.address.key)
  t.equal(bestOf(17), sound.address.key)
})

t.test('neighbours are hosts, sites and networks; private networks are told apart by ports', async (t) => {
  t.same(neighbourhoodsOf('https://a.shop.co.uk:8443/x', ['203.0.114.7', '2606:4700:1::1', '10.0.0.1']), [
    ...['host a.shop.co.uk', 'site shop.co.uk', 'net 203.0.0.0/16', 'net 2606:4700:0001::/48'],
  ])
  t.same(neighbourhoodsOf('https://a.bit.ly'), ['host a.bit.ly', 'site bit.ly'], 'a short name is a site too')
  t.same(neighbourhoodsOf('http://8.8.8.8'), ['net 8.8.0.0/16'])
  t.same(neighbourhoodsOf('http://[2606:4700:1:9::1]'), ['net 2606:4700:0001::/48'])
  t.same(neighbourhoodsOf('http://127.0.0.1:81'), ['host 127.0.0.1:81'])
  t.same(neighbourhoodsOf('http://abc.onion'), ['host abc.onion'])
  t.same(
    ['http://1.2.3.4', 'http://[::1]', 'http://x.onion', 'https://a.b'].map((url) => familyOf(url)),
    ['ipv4', 'ipv6', 'onion', 'name'],
  )
})

t.test(
  'a set is the best that fit together: neighbours count as one, and the budget lasts for all',
  async (t) => {
    const price = (storage: number) => ({
      storageCostPerGigPerDay: storage,
      bandwidthCostPerGig: 0,
      ingressCostPerGig: 0,
    })
    // A month of the pattern is ten times the storage price.
    const kept = { ...noEvidence(now), contracts: { open: 0, kept: 50, broken: 0 } }
    const all = judge([
      candidate(await advert(1, { ...price(100), address: 'https://one.same.org' })),
      candidate(await advert(2, { ...price(101), address: 'https://two.same.org' })),
      candidate(await advert(3, price(200))),
      candidate(await advert(4, price(300))),
      candidate(await advert(5, price(900)), { evidence: kept }),
    ])
    const costs = (budget?: number, count = 3) =>
      chooseSet(all, { count, budget }).chosen.map(({ why }) => why.monthly.satoshis)

    const { chosen, passedOver, satoshis, short } = chooseSet(all, { count: 3 })
    t.equal(chosen.length, 3)
    t.equal(
      satoshis,
      chosen.reduce((sum, { why }) => sum + why.monthly.satoshis, 0),
    )
    t.equal(short, null)
    t.match(passedOver[0]?.says, /shares site same\.org/)
    const [first = 0] = costs()
    t.ok(
      Math.max(...costs(13 * first)) < 9 * first,
      'a good one that would leave nothing for others is passed over',
    )
    const few = chooseSet(all, { count: 3, budget: 2 * first + first })
    t.equal(few.chosen.length, 2, 'what a budget is not enough for')
    t.match(few.short, /one more would cost \d+ satoshi/)
    t.match(chooseSet(all, { count: 9 }).short, /5 relays keep your limits, and 4 of them are no neighbours/)
    t.same(chooseSet(all, { count: 2, budget: 1 }).chosen, [])
    t.same(chooseSet([], { count: 2 }).chosen, [])
    t.throws(() => chooseSet(all, { count: 0 }), { code: 'ERR_LIMIT' })
  },
)

t.test('thousands of relays of one site do not make a choice slow', async (t) => {
  const [why] = judge([candidate(await advert(1))])
  const of = (site: string, index: number, satoshis: number, score: number): Why => ({
    ...why!,
    ...{ relay: `${index}`, neighbourhoods: [`host r${index}.${site}`, `site ${site}`], score },
    monthly: { ...why!.monthly, satoshis },
  })
  // Each of them is near the cheapest, and leaves too little for the next.
  const crowd = Array.from({ length: 5000 }, (_, index) => of('crowd.example', index, 60, 900))
  const all = [...crowd, of('crowd.example', 5000, 1, 500), of('other.example', 5001, 100, 400)]
  const since = performance.now()

  const { satoshis } = chooseSet(all, { count: 2, budget: 110 })

  t.equal(satoshis, 101)
  t.ok(performance.now() - since < 1000)
})

t.test(
  'observations: what is none is passed over, counts are scored here, a liar moves nothing',
  async (t) => {
    const relay = advertiser(1).identity
    const good: Observed = {
      ...{ relay, probes: 20, answered: 20, latencyMs: 30, kept: 3, broken: 0, explained: 5, forged: 0 },
    }
    const liar: Observed = { ...good, answered: 0, latencyMs: null, kept: 0, broken: 10_000, forged: 10_000 }
    const text = encodeObservation({ at: now, relays: [good] })
    const from = (index: number, observed: Observed, at = now) => ({
      from: advertiser(index).identity,
      at,
      observed,
    })
    const own = { asked: 0, answered: 0 }

    t.same(decodeObservation(text)?.relays, [good])
    for (const bad of [
      '',
      '{"at":',
      'hello',
      text.replace('"v":1', '"v":2'),
      `${text} `,
      `{"at":${'9'.repeat(70_000)}`,
    ])
      t.equal(decodeObservation(bad), undefined)
    t.throws(() => encodeObservation({ at: now, relays: [{ ...good, answered: 21 }] }), {
      code: 'ERR_MALFORMED',
    })
    t.equal(decodeObservation(text.replace('"relays":[', `"relays":[${JSON.stringify(good)},`)), undefined)

    t.equal(opinionOf([], { own, now }), undefined)
    t.equal(opinionOf([{ ...from(1, good) }], { own, now }), undefined, 'of itself')
    t.equal(opinionOf([from(2, good, now - 31 * dayMs)], { own, now }), undefined, 'too old')
    const fair = opinionOf([from(2, good), from(3, good), from(4, good)], { own, now })!
    t.same(opinionOf([from(2, good), from(3, good), from(5, liar), from(5, liar, now - 1)], { own, now }), {
      ...{ score: fair.score, observers: 3, setAside: 0 },
    })
    t.same(
      opinionOf([from(5, liar)], { own: { asked: 3, answered: 3 }, now }),
      { score: 500, observers: 0, setAside: 1 },
      'what we measured ourselves is not for others to say',
    )
  },
)

t.test('what is usual is not for one operator with many relays to say', async (t) => {
  const crowd = await Promise.all(
    [11, 12, 13, 14].map((index) =>
      advert(index, { address: `https://r${index}.crowd.example`, storageCostPerGigPerDay: 10 ** 9 }),
    ),
  )
  const cost = (all: readonly SealedAdvert[]) =>
    judge(all.map((sealed) => candidate(sealed))).find(({ relay }) => relay === advertiser(2).identity)!
      .factors!.cost
  const fair = [await advert(1), await advert(2, { storageCostPerGigPerDay: 40_000 }), await advert(3)]
  t.same(cost([...fair, ...crowd]), cost([...fair, crowd[0]!]))
})

t.test('equal relays stand by their keys, whoever was read first', async (t) => {
  const both = [candidate(await advert(1)), candidate(await advert(2))]
  t.same(
    judge(both).map(({ relay }) => relay),
    judge(both.reverse()).map(({ relay }) => relay),
  )
})
