/** docs/protocol.md §14.4: on which hosts somebody takes messages, and what these are paid. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Chain } from '../../contracts/chain/chain.ts'
import {
  phipScript,
  phipServices,
  phipTopic,
  routingKey,
  routingMessage,
} from '../../contracts/overlay/phip.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { CoinFees, type FeeOrder } from '../../relay/phip/host-fees.ts'
import { Hosts, type HostsOptions } from '../../relay/phip/hosts.ts'
import { Way } from '../../relay/phip/way.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { metaKey } from '../../relay/store/keys.ts'
import { decodeMeta, restoredMeta, writeMeta } from '../../relay/store/meta.ts'
import { openOverlayScene, outputs } from '../fixtures/overlay.ts'
import { mortal } from '../fixtures/steps.ts'
import { type Counter, crash, openTillScene, payWith } from '../fixtures/till.ts'
import { keysOf, withMethods } from '../fixtures/wallet.ts'

t.setTimeout(60_000)

const [own, bob, carol] = [keysOf('own'), keysOf('bob'), keysOf('carol')]

interface Claim {
  readonly of: KeyWallet
  readonly domain?: string
  readonly boxes?: string
  readonly user?: KeyWallet
  /** Who signs that the host may say so. */
  readonly by?: KeyWallet
}

function script({ of, domain = 'host.example', boxes, user = bob, by = user }: Claim): Uint8Array {
  const routing = { domain, ...(boxes !== undefined && { boxes }) }
  const authorization = by.ownKey(routingKey).sign(sha256(routingMessage({ host: of.identity, ...routing })))
  return phipScript({ ...routing, user: user.identity, authorization }, of)
}

/** Of one BEEF, as lookup services list it. */
const listOf = (beef: Uint8Array, count: number) =>
  JSON.stringify({
    type: 'output-list',
    outputs: Array.from({ length: count }, (_, outputIndex) => ({ beef: [...beef], outputIndex })),
  })

/** A lookup host that says what it is told to say. */
async function openLookup(t: Test) {
  const asked: string[] = []
  const said = {
    status: 200,
    text: listOf(new Uint8Array(), 0),
    answer: undefined as ((response: ServerResponse) => void) | undefined,
  }
  const server = createServer(async (request: IncomingMessage, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    asked.push(`${request.url} ${Buffer.concat(parts)}`)
    if (said.answer !== undefined) return said.answer(response)
    response.writeHead(said.status, { 'content-type': 'application/json' }).end(said.text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, said }
}

t.test('hosts of somebody are those of verified tokens', async (t) => {
  const scene = await openOverlayScene(t)
  const payer = await scene.relay('payer')
  const overlay = scene.host()
  const lookup = await openLookup(t)
  const other = await openLookup(t)
  const way = new Way({ reach: new Map(), named: [lookup.url, other.url] })
  t.teardown(() => way.close())
  const warnings: string[] = []
  const hosts = (options: Partial<HostsOptions> = {}) =>
    new Hosts({
      ...{ own: own.identity, denied: new Set<string>(), overlay: undefined, lookups: [lookup.url], way },
      ...{ chain: () => scene.devnet.chain, now: () => scene.clock.now },
      log: { warn: (facts: any) => void warnings.push(`${facts.lookup} ${facts.reason}`) },
      ...options,
    })
  const found = async (from: Hosts, box = 'inbox', user = bob) =>
    (await from.of(user.identity, box))?.map(({ key, domain }) => `${nameOf(key)} ${domain}`)
  const names = ['own', 'denied', 'carol', ...Array.from({ length: 10 }, (_, at) => `h${at}`)]
  const nameOf = (key: string) => names.find((name) => keysOf(name).identity === key)
  const say = async (scripts: readonly Uint8Array[], { isSent = true } = {}) => {
    lookup.said.text = listOf(await outputs(payer, scripts, { isSent }), scripts.length)
  }

  t.test('of our own index, newest first, each host once', async (t) => {
    const claims = [
      script({ of: keysOf('h1'), domain: 'old.example' }),
      script({ of: keysOf('h1'), domain: 'new.example' }),
      script({ of: keysOf('h2'), boxes: '^(inbox|payment_.*)$' }),
      script({ of: own }),
      script({ of: keysOf('denied') }),
      script({ of: keysOf('h3'), user: carol }),
    ]
    await overlay.submit({ beef: await outputs(payer, claims), topics: [phipTopic] })
    const known = hosts({ overlay, lookups: [], denied: new Set([keysOf('denied').identity]) })
    t.same(await found(known), ['h2 host.example', 'h1 new.example'])
    t.same(await found(known, 'other'), ['h1 new.example'])
    t.same(await found(known, 'inbox', carol), ['h3 host.example'])
    t.same(await found(known, 'inbox', keysOf('nobody')), [])
    t.same(await found(hosts({ lookups: [] })), [], 'where nobody can be asked')
  })

  t.test('what lookup hosts say is verified here', async (t) => {
    await say([
      script({ of: keysOf('h1') }),
      script({ of: keysOf('h2'), by: carol }),
      script({ of: keysOf('h3'), user: carol }),
      script({ of: keysOf('denied') }),
      Uint8Array.of(0x51),
      script({ of: keysOf('h4'), boxes: '^inbox$' }),
    ])
    const known = hosts({ overlay, denied: new Set([keysOf('denied').identity]) })
    const told = ['h2 host.example', 'h1 new.example', 'h4 host.example']
    t.same(await found(known), told, 'after those of our own')
    t.same(lookup.asked, [
      `/lookup ${JSON.stringify({ service: phipServices[0], query: { user: bob.identity } })}`,
    ])
    t.same(await found(hosts(), 'box'), ['h1 host.example', 'denied host.example'])

    await say([script({ of: keysOf('h5') })], { isSent: false })
    t.same(await found(hosts()), [], 'what was never there is not taken')
    const chain = (isUnspent: () => Promise<boolean | undefined>) => () =>
      withMethods(scene.devnet.chain, { isUnspent })
    const away = async () => {
      throw new MarketError('ERR_CHAIN_UNAVAILABLE', 'away')
    }
    for (const isUnspent of [away, async () => undefined, () => new Promise<boolean>(() => {})])
      t.same(
        await found(hosts({ chain: chain(isUnspent), limits: { chainMs: 1 } })),
        ['h5 host.example'],
        'unknown is taken',
      )
    t.same(
      await found(
        hosts({
          chain: () => {
            throw new MarketError('ERR_BUSY', 'recovering')
          },
        }),
      ),
      ['h5 host.example'],
    )

    await say(Array.from({ length: 10 }, (_, at) => script({ of: keysOf(`h${at}`) })))
    t.equal((await found(hosts()))?.length, 8)
    t.equal((await found(hosts({ limits: { outputs: 3 } })))?.length, 3)
  })

  t.test('an answer is remembered for a minute, a failure for seconds', async (t) => {
    lookup.asked.length = 0
    await say([script({ of: keysOf('h1') })])
    other.said.status = 503
    const known = hosts({ lookups: [lookup.url, other.url] })
    warnings.length = 0
    t.same(
      await Promise.all([found(known), found(known, 'box')]),
      [['h1 host.example'], ['h1 host.example']],
      'the others stand',
    )
    t.equal(lookup.asked.length, 1, 'asked once for both')
    scene.clock.now += 9999
    await found(known)
    t.equal(lookup.asked.length, 1)
    scene.clock.now += 1
    await found(known)
    t.equal(lookup.asked.length, 2)
    t.same(warnings, [`${other.url} it answers with status 503`], 'told once')
    other.said.status = 200
    scene.clock.now += 10_000
    await found(known)
    scene.clock.now += 59_999
    await found(known)
    t.equal(lookup.asked.length, 3)
    scene.clock.now += 1
    await found(known)
    t.equal(lookup.asked.length, 4, 'what is too old is asked for again')
    scene.clock.now += 60_000
    other.said.text = '{"type":"freeform"}'
    await found(known)
    t.same(warnings.slice(1), [`${other.url} it answers with no list of outputs`], 'and again after a while')
    const few = hosts({ limits: { users: 1 } })
    for (const user of [bob, carol, bob]) await found(few, 'inbox', user)
    t.equal(lookup.asked.length, 8, 'no more users than so many')
  })

  t.test('what was known before a failure holds until it is known better', async (t) => {
    await say([script({ of: keysOf('h1') }), script({ of: keysOf('h2'), boxes: '^inbox$' })])
    const known = hosts()
    const both = ['h1 host.example', 'h2 host.example']
    t.same(await found(known), both)
    lookup.said.status = 503
    for (const laterMs of [60_000, 10_000, 10_000, 86_400_000]) {
      scene.clock.now += laterMs
      t.same(await found(known), both, `${laterMs} ms later`)
    }
    t.equal(await found(known, 'inbox', carol), undefined, 'nothing is known of her')
    t.equal(await found(hosts()), undefined)
    lookup.said.status = 200
    await say([])
    scene.clock.now += 10_000
    t.same(await found(known), [])
    lookup.said.status = 503
    scene.clock.now += 60_000
    t.equal(await found(known), undefined, 'not what was known before that')
    lookup.said.status = 200
    await say([script({ of: keysOf('h1') })])
  })

  t.test('nobody waits for who does not answer', async (t) => {
    warnings.length = 0
    const held: ServerResponse[] = []
    other.said.answer = (response) => void held.push(response)
    const lookups = [lookup.url, other.url]
    t.same(await found(hosts({ lookups, limits: { answerMs: 50 } })), ['h1 host.example'])
    t.same(await found(hosts({ lookups, limits: { inAllMs: 50 } })), ['h1 host.example'])
    other.said.answer = (response) => response.end('x'.repeat(100))
    const all = ['h1 host.example']
    t.equal(await found(hosts({ lookups: [other.url], limits: { answerBytes: 99 } })), undefined)
    other.said.answer = (response) => response.writeHead(307, { location: `${lookup.url}/lookup` }).end()
    t.equal(await found(hosts({ lookups: [other.url] })), undefined, 'nobody is sent elsewhere')
    t.equal(warnings.length, 4)
    const busy = hosts({ limits: { asking: 1 } })
    const [first, second] = await Promise.all([found(busy), found(busy, 'inbox', carol)])
    t.same([first, second], [all, undefined], 'of too many at once nothing is known')
    await overlay.close()
    t.same(await found(hosts({ overlay })), all, 'nor for our own')
  })
})

t.test('a host is paid once, of what is the relay’s own', async (t) => {
  const scene = await openTillScene(t)
  const host = { key: scene.relay.identity, domain: 'host.example' }
  const till = (await scene.counter()).till
  const keys = keysOf('host a')
  const folders = {
    keys,
    store: join(scene.directory, 'a', 'store'),
    coins: join(scene.directory, 'a', 'coins'),
  }
  const open = async (chain: Chain = scene.devnet.chain) => {
    const counter = await scene.counter({ of: folders, chain })
    return { ...counter, fees: feesOf(counter) }
  }
  const order = (changes: Partial<FeeOrder> = {}): FeeOrder => {
    const derivationPrefix = till.offer(keys.identity, 100)['x-bsv-payment-derivation-prefix']!
    return { place: 1, host, satoshis: 100, budget: 200, derivationPrefix, ...changes }
  }
  const refused = { code: 'ERR_PAYMENT_REQUIRED' }
  let a = await open()

  await t.rejects(a.fees.pay(order()), refused, 'without coins')
  const customer = await scene.payer('customer', [20_000])
  const deposit = await payWith(customer, { satoshis: 9000, till: a.till, to: keys.identity })
  await a.till.take(customer.identity, deposit, { price: 1, what: 'deposit' })
  await t.rejects(a.fees.pay(order()), refused, 'with coins of customers alone')
  await scene.fund(a.wallet, [3000])
  const worth = async () => {
    const { confirmed, unconfirmed } = await a.wallet.balance()
    return confirmed + unconfirmed
  }
  t.equal(await worth(), 12_000)
  await t.rejects(a.fees.pay(order({ budget: 100 })), refused, 'the fee of the network is a part of it')
  await t.rejects(a.fees.pay(order({ budget: 122 })), refused)
  await t.rejects(a.fees.pay(order({ satoshis: 2990, budget: 9000 })), refused, 'not with coins of customers')
  t.equal(await worth(), 12_000, 'nothing is set aside for what is refused')
  t.equal(await a.fees.paid({ place: 1, host }), undefined)
  t.equal(await a.fees.spent(1), 0)

  const [payment, twin] = await Promise.all([a.fees.pay(order()), a.fees.pay(order())])
  t.same(twin, payment)
  const spent = await a.fees.spent(1)
  t.ok(spent > 100 && spent <= 200, `${spent} satoshi`)
  t.equal(await worth(), 12_000 - spent)
  t.match(await till.take(keys.identity, payment, { price: 100, what: 'a message' }), { satoshis: 100 })

  await a.close()
  a = await open()
  t.same(await a.fees.paid({ place: 1, host }), payment, 'after a restart')
  t.same(await a.fees.pay(order({ satoshis: 150 })), payment)
  const again = (await a.fees.paid({ place: 1, host }))!
  t.match(await till.take(keys.identity, again, { price: 100, what: 'a message' }), { isRepeat: true })
  await scene.devnet.node.mine(1)
  await a.pass()
  const { members } = parseBeef(Buffer.from((await a.fees.pay(order())).transaction, 'base64'))
  t.equal(members.size, 1, 'proven by blocks of now')

  const others = [
    { place: 1, host: { key: keysOf('another host').identity, domain: 'another.example' } },
    { place: 2, host },
  ]
  for (const other of others) t.not((await a.fees.pay(order(other))).transaction, payment.transaction)
  const [both, second] = [await a.fees.spent(1), await a.fees.spent(2)]
  t.ok(both > spent)
  t.equal(await worth(), 12_000 - both - second)
  await t.rejects(
    a.fees.pay(order({ place: 3, satoshis: 2990 - both - second, budget: 9000 })),
    refused,
    'what was paid is not there any more',
  )
  await a.close()

  const away = async () => {
    throw new MarketError('ERR_CHAIN_UNAVAILABLE', 'away')
  }
  a = await open(withMethods(scene.devnet.chain, { feeRate: away }))
  await t.rejects(a.fees.pay(order({ place: 4 })), { code: 'ERR_CHAIN_UNAVAILABLE' })
  await a.close()
  a = await open(withMethods(scene.devnet.chain, { broadcast: away }))
  const unsent = await a.fees.pay(order({ place: 4 }))
  t.match(await till.take(keys.identity, unsent, { price: 100, what: 'another' }), { satoshis: 100 })
  t.same(await a.fees.pay(order({ place: 4 })), unsent, 'who is paid sends it')

  await scene.fund(a.wallet, [60_000, 60_000])
  const before = await worth()
  const split = order({ place: 5, satoshis: 13_000, budget: 13_025 })
  await t.rejects(a.fees.pay(split), refused, 'also where it costs more than a plain one')
  t.equal(await worth(), before)
  await a.close()
  a = await open()

  // The same coins in other hands: what they spend first, we cannot.
  await scene.copy(join('a', 'coins'), 'a twin')
  const twinOfA = await scene.open('host a', { folder: 'a twin' })
  await twinOfA.payTo({ identity: customer.identity, satoshis: 40_000 })
  const large = order({ place: 5, satoshis: 40_000, budget: 50_000 })
  await t.rejects(a.fees.pay(large), { code: 'ERR_BUSY' }, 'what the network refuses is tried again')
  t.equal(await a.fees.paid(large), undefined)
  t.equal(await a.fees.spent(5), 0)
  const other = await a.fees.pay(large)
  t.match(await till.take(keys.identity, other, { price: 1, what: 'a large one' }), { satoshis: 40_000 })
  await a.close()

  const database = await openDatabase(folders.store)
  const meta = decodeMeta(database.get(metaKey('store'))!)
  await writeMeta(database, restoredMeta(meta, { now: scene.clock.now, lastPlace: 0 }))
  await database.close()
  a = await open()
  await t.rejects(a.fees.pay(order({ place: 6 })), { code: 'ERR_BUSY', message: /restored from a backup/ })
  t.same(await a.fees.pay(large), other, 'what was paid is known')
})

t.test('a relay that ends at each step pays once', async (t) => {
  const scene = await openTillScene(t)
  const till = (await scene.counter({ folder: 'host' })).till
  const host = { key: scene.relay.identity, domain: 'host.example' }
  const keys = keysOf('host a')
  const of = (folder: string) => ({
    ...{ keys, store: join(scene.directory, folder, 'store'), coins: join(scene.directory, folder, 'coins') },
  })
  let last = 1
  for (let isDead = true; isDead && last < 20; last++) {
    const [from, to] = [`a ${last}`, `a ${last} again`]
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to), { isArmed: false })
    const before = await scene.counter({ of: of(from), chain: seen(scene.devnet.chain), step })
    await scene.fund(before.wallet, [3000, 3000])
    const order = () => ({
      ...{ place: 1, host, satoshis: 100, budget: 200 },
      derivationPrefix: till.offer(keys.identity, 100)['x-bsv-payment-derivation-prefix']!,
    })
    state.isArmed = true
    const paid = await feesOf(before)
      .pay(order())
      .catch(() => undefined)
    isDead = state.isDead
    if (!isDead) crash(scene, from, to)

    const after = await scene.counter({ of: of(to) })
    const fees = feesOf(after)
    const known = await fees.paid({ place: 1, host })
    const payment = await fees.pay(order())
    if (known !== undefined) t.same(payment, known)
    if (!isDead) t.same(payment, paid)
    t.match(await till.take(keys.identity, payment, { price: 100, what: `message ${last}` }), {
      satoshis: 100,
    })
    const { confirmed, unconfirmed, reserved } = await after.wallet.balance()
    t.equal(confirmed + unconfirmed + reserved, 6000 - (await fees.spent(1)), `step ${last}`)
    t.ok((await fees.spent(1)) <= 200)
  }
  t.ok(last > 4 && last < 20, `there are ${last - 2} steps`)
})

const feesOf = ({ store, wallet }: Counter): CoinFees =>
  new CoinFees({ store, wallet: () => wallet, monotonic: () => performance.now() })
