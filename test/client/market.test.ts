/**
 * The market with real relays: channels that nobody trusts are merged, strangers' addresses are not followed, keys that do not
 * answer are marked, a set is chosen and contracted; and own records are read whatever the market says.
 */
import { appendFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { Feeds } from '../../client/feeds.ts'
import { noteForged } from '../../client/home/market.ts'
import { Market } from '../../client/market.ts'
import { joinRelay } from '../../client/mail/joining.ts'
import { pull } from '../../client/mail/pull.ts'
import { send } from '../../client/delivery.ts'
import { addFriend } from '../../client/people/friends.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { encodeObservation } from '../../market/observation.ts'
import { formatAddress } from '../../market/address.ts'
import { fromKeyWallet } from '../../client/wallet.ts'
import { advertiser, devnetAdvert } from '../fixtures/adverts.ts'
import { type Client, eventually, openMarket, type TestRelay } from '../fixtures/contracting.ts'
import { relayCommand } from '../fixtures/people.ts'

t.setTimeout(120_000)

const bits = 4
const market = await openMarket(t)
// Commands have the clock of this machine.
market.clock.now = Date.now()
const now = () => market.clock.now
const advertising = (...channels: string[]) => [
  ...['--limit', `advertBits=${bits}`],
  ...channels.flatMap((channel) => ['--advertise', channel]),
]
const one = await market.relay('one', advertising('board:self'))
const board = `board:${one.url}`
const two = await market.relay('two', [
  ...advertising(board, 'board:self'),
  ...['storageGBDay=9000', 'egressGB=200000', 'ingressGB=9000000'].flatMap((price) => ['--price', price]),
])
const paper = join(market.directory, 'adverts.txt')
const call = { bits, jitter: () => 0 }
const marketOf = ({ ctx }: Client) => new Market(ctx)
const signerOf = async ({ data }: TestRelay) => fromKeyWallet(await openKeyFile(join(data, 'relay.key'), {}))
const relaysIn = (all: readonly { readonly relay: string }[]) => all.map(({ relay }) => relay).sort()

/** A board that says what it likes. */
async function liar(adverts: () => readonly string[]): Promise<string> {
  const server = createServer((_, response) => {
    const page = `{"adverts":[${adverts().join(',')}],"cursor":"x","more":false}`
    response.setHeader('content-type', 'application/json').end(page)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return `board:http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const alice = await market.user('alice', { relays: [one.address], satoshis: 400_000 })
/** Both relays stand on the board of the first. */
const listed = await eventually(
  () => marketOf(alice).list(call),
  ({ all }) => all.length === 2,
)

t.test('the boards of own relays are read by default, and what they have is judged', async (t) => {
  t.same(await marketOf(alice).channels(), [board])
  t.same(relaysIn(listed.all), [one.key, two.key].sort())
  t.equal(listed.all[0]?.relay, one.key, 'the cheaper one stands first')
  t.match(listed.all[0], {
    refused: [],
    score: Number,
    channels: [board],
    pricesBy: 'advert',
    network: 'devnet',
  })
  t.equal(listed.limits.network, 'devnet', 'of the coins')
  t.equal(listed.usage.by, 'usual')

  const again = await marketOf(alice).list({ ...call, isOffline: true })
  t.same(again.reads, [])
  t.same(relaysIn(again.all), relaysIn(listed.all), 'what came is kept')
  t.equal((await marketOf(alice).list({ ...call, isOffline: true, bits: 30 })).all.length, 0)
})

t.test('a channel that hides adverts, or repeats old ones, changes nothing and is noticed', async (t) => {
  const signer = await signerOf(two)
  const { address } = two
  const old = await devnetAdvert(signer, now() - 60_000, { bits, address: address.url })
  const lying = await liar(() => [old.text, `{"type":"serverBroadcast"}`, old.text.replace(':4000,', ':4,')])

  const { all, reads } = await marketOf(alice).list({ ...call, channels: [board, lying] })

  t.same(relaysIn(all), [one.key, two.key].sort())
  const [, lied] = reads
  t.match(lied, { channel: lying, texts: 3, added: 0, replaced: 0, older: 2, lacking: 1 })
  t.equal(
    Object.values(lied!.refused).reduce((sum, count) => sum + count, 0),
    1,
  )
  t.ok(all.every(({ channels }) => !channels.includes(lying)))

  const gone = await marketOf(alice).list({ ...call, channels: ['board:http://127.0.0.1:1', board] })
  t.match(gone.reads, [{ error: { code: 'ERR_BUSY' }, lacking: null }, { texts: 2 }])
})

t.test('a revocation is remembered: what it revoked does not come back by another channel', async (t) => {
  const signer = advertiser(1)
  const bob = await market.user('bob', { relays: [one.address], satoshis: 0 })
  const advert = await devnetAdvert(signer, now() - 5000, { bits })
  const at = now() - 4000
  const revoked = await devnetAdvert(signer, at, { bits, expires: at })
  await writeFile(paper, `${advert.text}\n`)
  const list = async () => (await marketOf(bob).list({ ...call, channels: [`file:${paper}`] })).all
  t.equal((await list()).length, 1)

  await writeFile(paper, `${revoked.text}\n`)
  t.equal((await list()).length, 0)
  await writeFile(paper, `${advert.text}\n`)
  t.equal((await list()).length, 0, 'even after a restart')
})

t.test('strangers lead nobody into private networks, nor to another network’s money', async (t) => {
  const inside = ['http://10.0.0.1', 'http://169.254.169.254', 'http://[fd00::1]', 'http://192.168.1.1:8080']
  const texts = await Promise.all(
    inside.map((address, index) => devnetAdvert(advertiser(10 + index), now(), { bits, address })),
  )
  const main = await devnetAdvert(advertiser(20), now(), { bits, network: 'main' })
  await writeFile(paper, [...texts, main].map(({ text }) => `${text}\n`).join(''))
  const carol = await market.user('carol', { relays: [], satoshis: 0 })
  const asked = { ...call, channels: [`file:${paper}`], limits: { network: 'devnet' as const } }

  const { all } = await marketOf(carol).list(asked)
  t.same(all.map(({ refused }) => refused.map(({ limit }) => limit).join()).sort(), [
    'network',
    ...inside.map(() => 'private address'),
  ])
  t.same(await marketOf(carol).probe(asked), [], 'nobody there is asked')
  const { set } = await marketOf(carol).choose({ ...asked, count: 1 })
  t.match(set, { chosen: [], short: /0 relays keep your limits/ })
  const loopback = await devnetAdvert(advertiser(21), now(), { bits, address: two.url })
  await writeFile(paper, `${loopback.text}\n`)
  t.match((await marketOf(carol).list(asked)).all.at(-1)?.refused, [{ limit: 'private address' }])
})

t.test('two relays with one address: the key that does not answer is marked', async (t) => {
  const pretender = advertiser(30)
  const cheap = { storageCostPerGigPerDay: 1, bandwidthCostPerGig: 1, ingressCostPerGig: 0 }
  const advert = await devnetAdvert(pretender, now(), { bits, address: two.url, ...cheap })
  await writeFile(paper, `${advert.text}\n`)
  const channels = [board, `file:${paper}`]
  t.equal(
    (await marketOf(alice).list({ ...call, channels })).all[0]?.relay,
    pretender.identity,
    'it looks best',
  )

  const probed = await marketOf(alice).probe({ ...call, channels })

  const of = (key: string) => probed.find(({ relay }) => relay === key)
  t.match(of(pretender.identity), { ms: null, another: two.key, error: { code: 'ERR_UNTRUSTED' } })
  t.match(of(two.key), { another: null, prices: { storageGBDay: 9000 } })
  t.type(of(two.key)?.ms, 'number')
  const { all } = await marketOf(alice).list({ ...call, channels })
  t.equal(all[0]?.relay, one.key)
  t.match(all.at(-1), { relay: pretender.identity, score: null, refused: [{ limit: 'another key' }] })
  const { why, place } = await marketOf(alice).why(one.key.slice(0, 12), call)
  t.equal(place, 1)
  t.match(why.factors?.success.says, /1 of 1 probes answered/)
  t.match(why.factors?.history.says, /0 contracts kept/)
  await t.rejects(marketOf(alice).why('https://nobody.example', call), { code: 'ERR_NOT_FOUND' })
})

t.test('who quotes more than he advertises is not considered', async (t) => {
  const signer = await signerOf(two)
  const advert = await devnetAdvert(signer, now() + 1000, {
    bits,
    address: two.url,
    storageCostPerGigPerDay: 1,
  })
  await writeFile(paper, `${advert.text}\n`)
  const dave = await market.user('dave', { relays: [one.address], satoshis: 0 })
  market.clock.now += 2000
  const asked = { ...call, channels: [`file:${paper}`] }

  await marketOf(dave).probe(asked)

  const [why] = (await marketOf(dave).list(asked)).all
  t.match(why, { relay: two.key, score: null, pricesBy: 'quote', prices: { storageGBDay: 9000 } })
  t.same(
    why?.refused.map(({ limit }) => limit),
    ['dearer'],
  )
})

t.test('a crowd that promises everything and is not there keeps nobody from being chosen', async (t) => {
  const free = { storageCostPerGigPerDay: 0, bandwidthCostPerGig: 0, ingressCostPerGig: 0, network: null }
  const crowd = await Promise.all(
    Array.from({ length: 14 }, (_, index) =>
      devnetAdvert(advertiser(40 + index), now(), {
        bits,
        ...free,
        address: `http://${'crowdcrowd'.repeat(5)}abcd${10 + index}.onion`,
      }),
    ),
  )
  const here = join(market.directory, 'crowd.txt')
  await writeFile(here, crowd.map(({ text }) => `${text}\n`).join(''))
  const kim = await market.user('kim', { relays: [one.address], satoshis: 0 })
  const asked = { ...call, channels: [board, `file:${here}`], count: 1 }

  const { set, probed } = await marketOf(kim).choose(asked)

  t.same(relaysIn(set.chosen.map(({ why }) => why)), [one.key])
  t.ok(probed.length > 14)
  t.ok((await marketOf(kim).choose(asked)).probed.length < 14, 'who was not there is asked last')
})

t.test('a set is chosen within a budget, shown, contracted and used', async (t) => {
  const erin = await market.user('erin', { relays: [one.address], satoshis: 400_000 })
  const shop = marketOf(erin)
  const none = { ...erin.call, isOffline: true }
  const pattern = { records: 50, bytes: 100_000, ttl: 86_400, milliPulls: 1000 }
  const { set, usage } = await shop.choose({ ...call, pattern, count: 2, budget: 100_000 })
  t.same(relaysIn(set.chosen.map(({ why }) => why)), [one.key, two.key].sort())
  t.ok(set.satoshis <= 100_000 && set.short === null)
  t.same(usage.pattern, pattern)
  const dear = await shop.choose({ ...call, pattern, count: 2, budget: set.satoshis - 1 })
  t.match([dear.set.chosen.length, dear.set.short], [1, /one more would cost/])

  const plans: number[] = []
  const refused = await shop.open({ set }, { ...none, agree: async ({ budget }) => plans.push(budget) < 0 })
  t.ok(refused.every(({ isRefused }) => isRefused) && plans.length === 2)
  t.ok(Math.min(...plans) >= 5000, 'what the relays take at least, where the pattern costs less')
  t.same(await erin.contracts.list(), [])
  const lured = set.chosen.map(({ why, says }) => {
    return { says, why: { ...why, prices: { ...why.prices, storageGBDay: why.prices.storageGBDay - 1 } } }
  })
  t.match(
    await shop.open({ set: { ...set, chosen: lured } }, { ...none, agree: async () => t.fail('asked') }),
    [
      { error: { code: 'ERR_COST' } },
      { error: { code: 'ERR_COST', message: /storageGBDay 9000 instead of 8999/ } },
    ],
    'dearer than it was chosen by',
  )
  t.same(await erin.contracts.list(), [])
  const opened = await shop.open(
    { set },
    { ...erin.call, budget: 20_000, maxSpend: 5000, agree: async ({ budget }) => budget === 20_000 },
  )
  t.match(opened, [
    { view: { state: 'active', maxSpend: 5000 } },
    { view: { state: 'active', maxSpend: 5000 } },
  ])
  const relays = (await erin.ctx.home.me()).msg.request.relays
  t.same(relays.sort(), [one.address, two.address].map(formatAddress).sort())
  t.equal(
    (await shop.list({ ...call, isOffline: true })).limits.network,
    'devnet',
    'the network of the coins',
  )
  const { why } = await shop.why(two.key, call)
  t.match(why.factors?.history.says, /1 open/)
})

t.test(
  'hearsay of those who are followed counts a little; a liar among them does not change the order',
  async (t) => {
    const frank = await market.user('frank', { relays: [one.address], satoshis: 0 })
    const grace = await market.user('grace', { relays: [one.address], satoshis: 0 })
    await Promise.all([one, two].map(({ operator }) => operator.grant(grantTo(grace))))
    const shop = marketOf(frank)
    await shop.probe(call)
    const before = (await shop.list(call)).all
    const slander = {
      ...{ relay: one.key, probes: 100, answered: 0, latencyMs: null, kept: 0, broken: 500 },
      ...{ explained: 0, forged: 500 },
    }
    await new Feeds(grace.ctx).post(encodeObservation({ at: now(), relays: [slander] }))
    await new Feeds(frank.ctx).followFile((await grace.ctx.home.me()).text)
    t.equal((await new Feeds(frank.ctx).refresh()).posts, 1)

    const after = (await shop.list(call)).all

    t.same(relaysIn(after.slice(0, 1)), relaysIn(before.slice(0, 1)))
    const points = (all: typeof after) => all.find(({ relay }) => relay === one.key)!.score!
    t.ok(Math.abs(points(after) - points(before)) <= 30)
    t.match((await shop.why(one.key, call)).why.factors?.hearsay.says, /1 you follow told of it/)
    for (let probes = 0; probes < 2; probes++) await shop.probe(call)
    const hearsay = (await shop.why(one.key, call)).why.factors!.hearsay
    t.match(hearsay, { score: 500, says: /0 you follow told of it, 1 set aside/ }, 'own probes contradict it')

    await marketOf(grace).probe(call)
    const told = await marketOf(grace).observe()
    t.ok(told.recordId)
    t.match(await marketOf(grace).observation(), { relays: [{ answered: 1, kept: 0 }, {}] })
  },
)

t.test('a relay that has no room left is not chosen', async (t) => {
  const full = await market.relay('full', [...advertising('board:self'), '--capacity', '1MB'])
  const judy = await market.user('judy', { relays: [], satoshis: 0 })
  const asked = { ...call, channels: [`board:${full.url}`] }
  await eventually(
    () => marketOf(judy).list(asked),
    ({ all }) => all.length === 1,
  )
  t.match(await marketOf(judy).probe(asked), [{ ms: null, error: { code: 'ERR_BUSY' } }])
  const { set, all } = await marketOf(judy).choose({ ...asked, count: 1 })
  t.same(set.chosen, [])
  t.match(all[0]?.refused, [{ limit: 'unreachable', says: /or had no room/ }])
})

t.test('own records are read whatever the market says of the relay that has them', async (t) => {
  const heidi = await market.user('heidi', { relays: [one.address], satoshis: 0 })
  const ivan = await market.user('ivan', { relays: [one.address], satoshis: 0 })
  await one.operator.grant(grantTo(heidi))
  await addFriend(heidi.ctx, (await ivan.ctx.home.me()).text)
  await addFriend(ivan.ctx, (await heidi.ctx.home.me()).text)
  await send(heidi.ctx, { to: ivan.ctx.wallet.identity, payload: { type: 'text', text: 'still here' } }, {})
  // Blocked, caught, and its adverts damaged on disk: nothing of it is asked on the way of a record.
  await marketOf(ivan).block(one.key, true)
  await noteForged(ivan.ctx.home, one.key, now())
  t.match((await marketOf(ivan).list(call)).all.find(({ relay }) => relay === one.key)?.refused, [
    { limit: 'blocked' },
    { limit: 'forged' },
  ])
  await appendFile(ivan.ctx.home.path('market', 'adverts.jsonl'), 'no JSON\n')
  await writeFile(ivan.ctx.home.path('market', 'settings.json'), 'no JSON')

  const { messages } = await pull(ivan.ctx, {})

  t.equal(messages.length, 1)
  await joinRelay(ivan.ctx, formatAddress(two.address), {})
  await t.rejects(marketOf(ivan).list(call), { code: 'ERR_DAMAGED' }, 'only the market itself needs it')
})

t.test('as typed: tables for people, lines for programs, exit codes', async (t) => {
  const run = (args: string[], options = {}) =>
    relayCommand(alice.home, ['market', ...args, '--bits', String(bits)], options)
  const list = await run(['list'])
  t.equal(list.code, 0)
  t.same(
    list.rows.map(({ event }) => event),
    ['channel', 'relay', 'relay', 'relay'],
  )
  t.match(await run(['list'], { tty: true }), { code: 0, stdout: /SATOSHI\/MONTH.*NOT TAKEN\n/ })
  t.match(
    await run([
      'simulate',
      '--records',
      '10',
      '--bytes',
      '1MB',
      '--ttl',
      '7d',
      '--pulls',
      '0.5',
      '--offline',
    ]),
    {
      code: 0,
      rows: [
        { event: 'cost', refused: [{ limit: 'another key' }] },
        { relay: one.key, pattern: { records: 300, milliPulls: 500 } },
        { relay: two.key },
      ],
    },
  )
  t.match(await run(['show', one.key, '--offline'], { tty: true }), { code: 0, stdout: /stamp {6}\d+ bits/ })
  t.match(await run(['why', one.url, '--offline', '--most-egress', '1'], { tty: true }), {
    stdout: /not considered[\s\S]*LIMIT {6}egress price/,
  })
  t.match(await run(['probe', two.key]), { code: 0, rows: [{ event: 'probe', relay: two.key, ms: Number }] })
  const chosen = await run([
    'choose',
    '--relays',
    '1',
    '--budget',
    '1000000',
    '--dry-run',
    '--contract',
    '5000',
  ])
  t.match(chosen, {
    code: 0,
    rows: [{ event: 'channel' }, { event: 'choice' }, { event: 'plan', budget: 5000 }],
  })
  t.equal((await run(['choose', '--relays', '1', '--budget', '0'])).code, 5)
  const asked = ['choose', '--relays', '1', '--open', '--contract', '5000']
  const said = await run(asked, { tty: true, stdin: 'n\n' })
  t.match(said, { code: 1, stdout: /lost at most[\s\S]*not taken/, stderr: /open it\? \[y\/N\]/ })
  t.match(await run(['block', two.key]), { code: 0, rows: [{ event: 'blocked' }] })
  t.match(await run(['why', two.key, '--offline']), { rows: [{ refused: [{ limit: 'blocked' }] }] })
  t.match(await run(['unblock', two.key]), { code: 0 })
  t.match(await run(['why', 'nobody']), { code: 5 })
  t.match(await run(['fly']), { code: 2, stderr: /there is list, show, why/ })
  t.match(await run(['choose']), { code: 2 })
  t.match(await run(['channels', 'add', `file:${paper}`]), { code: 0, rows: [{ channel: board }, {}] })
  t.match(await run(['channels', 'remove', board], { tty: true }), { code: 0, stdout: /CHANNEL\nfile:/ })
  t.match(await run(['channels', 'add', 'gopher://x']), { code: 2, stderr: /ERR_USAGE/ })
  t.match(await run(['observe', '--dry-run']), { code: 0, rows: [{ event: 'observation' }] })
})

const grantTo = ({ ctx }: Client) => ({ key: ctx.wallet.identity, satoshi: 10_000, id: undefined })
