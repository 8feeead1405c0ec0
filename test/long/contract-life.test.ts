/** What a client does when its relay does not do what it should, or its own process ends at any step. */
import t, { type Test } from 'tap'
import { keptContract, keptContracts, termsOf } from '../../client/home/contracts.ts'
import { baskets, stowedIn } from '../../client/escrow/baskets.ts'
import { close, open, refund, renew } from '../../client/escrow/operations.ts'
import type { Audited } from '../../client/escrow/paying.ts'
import type { Plan } from '../../client/escrow/plan.ts'
import { recover } from '../../client/escrow/recover.ts'
import type { Site } from '../../client/escrow/site.ts'
import { tend } from '../../client/escrow/tend.ts'
import { planLines } from '../../client/terminal/commands/contract-text.ts'
import { feeFor, leastFeeRate } from '../../contracts/chain/chain.ts'
import type { DevnetNode } from '../../contracts/chain/devnet/node.ts'
import { MarketError } from '../../market/errors.ts'
import { spend } from '../fixtures/chain.ts'
import { type Market, openMarket } from '../fixtures/contracting.ts'
import { type ScriptedRelay, scriptRelay, siteOf } from '../fixtures/contract-relay.ts'
import type { Coin } from '../fixtures/devnet-coins.ts'
import { keysOf } from '../fixtures/wallet.ts'

t.setTimeout(120_000)

const yes = async () => true

const market = await openMarket(t)
let people = 0
const setUp = (t: Test) => actor(t, market, `alice ${people++}`)

/** Somebody, and a relay of his own. */
async function actor(t: Test, market: Market, name: string, relay = scriptRelay(market)) {
  const alice = await market.user(name)
  const at = siteOf(t, alice, market, relay)
  const wish = { client: alice.ctx.wallet.identity, budget: 100_000, termSeconds: 30 * 86_400 }
  const order = { relay: at.relay, offer: relay.offer, wish, agree: yes }
  const { mine } = { mine: (blocks: number) => market.devnet.node.mine(blocks) }
  return { ...at, market, scripted: relay, alice, order, mine }
}

/** An agent that hears `audited` of every audit. */
const agent = (scripted: ScriptedRelay, audited: Partial<Audited> = {}, isRenewing = false) => ({
  audit: async (): Promise<Audited> => ({
    audited: 0,
    unproven: 0,
    owed: scripted.script.owed,
    verdict: 'explained',
    ...audited,
  }),
  offer: async () => (isRenewing ? scripted.offer : undefined),
})

t.test('a relay that vanishes while it is opened: the stake comes back', async (t) => {
  for (const step of ['contractOpen', 'ContractClientSigned'] as const)
    await t.test(step, async (t) => {
      const { site, balance, order, scripted, market, mine } = await setUp(t)
      const before = await balance()
      scripted.script.before = ({ type }) => {
        if (type === step) throw new MarketError('ERR_BUSY', 'gone')
      }
      await open(site, order).catch(() => undefined)
      const [kept] = await keptContracts(site.ctx.home)
      t.equal(kept!.state.state, step === 'contractOpen' ? 'opening' : 'signed')

      await market.passTime(700)
      const [first] = await tend(site, agent(scripted))
      t.equal(first!.kept.state.state, 'cancelling')
      await mine(6)
      const [last] = await tend(site, agent(scripted))
      t.equal(last!.kept.state.state, 'cancelled')
      t.same(await tend(site, agent(scripted)), [])
      const spent = before - (await balance())
      t.ok(spent > 0 && spent < 100, `${spent} satoshi of fees`)
    })
})

t.test('an opening that the relay never heard of is taken back when the user wants it', async (t) => {
  const { site, balance, order, scripted, mine } = await setUp(t)
  const before = await balance()
  for (const [step, state] of [
    ['contractOpen', 'opening'],
    ['ContractClientSigned', 'signed'],
  ] as const) {
    scripted.script.before = ({ type }) => {
      if (type === step) throw new MarketError('ERR_BUSY', 'gone')
    }
    const error = await open(site, order).catch((error: unknown) => error as Error)
    const { id } = (await keptContracts(site.ctx.home)).find((kept) => kept.state.state === state)!
    if (state === 'signed') {
      await t.rejects(refund(site, id), { code: 'ERR_CONFLICT', message: /comes back from/ })
      await t.rejects(close(site, id, {}), { code: 'ERR_CONFLICT', message: /unless it opens first/ })
      continue
    }
    t.match(error, {
      code: 'ERR_BUSY',
      message: /gone: your stake of 1101\d\d satoshi is set aside until 20.*Z, .* close [0-9a-f]{16} takes/,
    })
    const other = { ...order, wish: { ...order.wish, budget: 30_000 } }
    await t.rejects(open(site, other), { code: 'ERR_CONFLICT', message: /budget of 100000 satoshi/ })
    const asked: Plan[] = []
    const no = async (plan: Plan) => asked.push(plan) === 0
    t.equal(await open(site, { ...order, agree: no }), undefined)
    t.match(asked, [{ contract: id, budget: 100_000 }], 'it is not gone on with unasked')
    t.match((await close(site, id, {})).state, { state: 'cancelling' })
    await mine(6)
    t.match((await tend(site, agent(scripted)))[0]!.kept.state, { state: 'cancelled' })
    t.ok(before - (await balance()) < 100)
  }
})

t.test('every answer of an opening is lost once: the same goes on, with one stake', async (t) => {
  const { site, order, scripted, balance } = await setUp(t)
  const before = await balance()
  for (const step of ['contractOpen', 'ContractClientSigned']) {
    scripted.script.after = ({ type }) => {
      if (type === step) throw new MarketError('ERR_BUSY', 'lost')
    }
    await open(site, order).catch(() => undefined)
  }
  delete scripted.script.after
  const kept = await open(site, order).catch((error) => error)
  t.match(kept.state ?? kept, kept.state ? { state: 'active' } : { code: 'ERR_CONFLICT' })
  const all = await keptContracts(site.ctx.home)
  t.equal(all.length, 1)
  t.equal(all[0]!.state.state, 'active')
  t.ok(before - (await balance()) < 111_000)
})

/** Of the steps, this many apart are tried. */
const stride = 17

/** The process ends before or after the `step`th thing that it says to anybody, or does to a contract on disk. */
async function atEachStep(
  work: (name: string, crash: (site: Site) => Site) => Promise<void>,
  apart = stride,
) {
  let steps = 0
  for (const [first, moment] of [
    [1, 'before'],
    [2, 'after'],
  ] as const)
    for (let step = first, isDone = false; !isDone; step += apart, steps += apart) {
      const made: ReturnType<typeof crashing>[] = []
      await work(`${moment} ${step}`, (site) => {
        made.push(crashing(site, step, moment))
        return made.at(-1)!.at
      })
      isDone = made.every(({ hasCrashed }) => !hasCrashed())
    }
  return steps
}

t.test('an opening and an end stop at any step, and go on', async (t) => {
  const { site, order, balance, mine, scripted } = await setUp(t)
  const isOpen: readonly string[] = ['staking', 'opening', 'signed', 'active', 'disputed', 'closing']
  const steps = await atEachStep(async (name, crash) => {
    const before = await balance()
    await open(crash(site), order).catch(() => undefined)
    await open(site, order).catch(() => undefined)
    await tend(site, agent(scripted))
    const live = (await keptContracts(site.ctx.home)).filter(({ state }) => isOpen.includes(state.state))
    if (live.length !== 1 || live[0]!.state.state !== 'active')
      throw new Error(`${name}: ${live.length} contracts`)
    const { id } = live[0]!
    await close(crash(site), id, { audited: 100 }).catch(() => undefined)
    await tend(crash(site), agent(scripted)).catch(() => undefined)
    await close(site, id, { audited: 100 }).catch(() => undefined)
    await mine(6)
    await tend(site, agent(scripted))
    const { state } = (await keptContract(site.ctx.home, id))!
    const spent = before - (await balance())
    if (state.state !== 'closed' || spent < 100 || spent > 400)
      t.fail(`${name}: ${state.state}, ${spent} spent`)
  })
  t.ok(steps > 20, `${steps} crashes`)
})

t.test('a renewal stops at any step, and goes on', async (t) => {
  const { site, order, balance, mine, scripted } = await setUp(t)
  let { id } = (await open(site, order))!
  await mine(6)
  const renewing = { offer: scripted.offer, audited: 3000, agree: yes }
  const steps = await atEachStep(async (name, crash) => {
    const before = await balance()
    await renew(crash(site), id, renewing).catch(() => undefined)
    await tend(crash(site), agent(scripted)).catch(() => undefined)
    await renew(site, id, renewing).catch(() => undefined)
    await mine(6)
    await tend(site, agent(scripted))
    const all = await keptContracts(site.ctx.home)
    const open = all.filter(({ state }) => state.state === 'active')
    const spent = before - (await balance())
    if (open.length !== 1 || open[0]!.renews?.id !== id || spent < 3000 || spent > 3200)
      t.fail(`${name}: ${all.map(({ state }) => state.state)}, ${spent} spent`)
    id = open.at(-1)!.id
  })
  t.ok(steps > 20, `${steps} crashes`)
})

t.test('a payment stops at any step, and goes on: what was signed is known', async (t) => {
  const { site, order, mine, scripted } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  let audited = 0
  const steps = await atEachStep(async (name, crash) => {
    audited += 1000
    market.clock.now += 700_000 // payments are due
    scripted.script.owed = audited
    await tend(crash(site), agent(scripted, { audited })).catch(() => undefined)
    const { paid, settled } = scripted.deals.get(id)!
    const [kept] = await keptContracts(site.ctx.home)
    const { state } = kept as { state: { paid: number; settled: number } }
    if (state.paid < paid || state.settled < settled) t.fail(`${name}: the relay has more than is known`)
    await tend(site, agent(scripted, { audited }))
    t.match(scripted.deals.get(id), { settled: audited, paid: audited }, name)
  }, 1)
  t.ok(steps > 20, `${steps} crashes`)
})

/** A site whose process ends at the `step`th thing it says to anybody, or does to a contract on disk. */
function crashing(site: Site, step: number, moment: 'before' | 'after') {
  let left = step
  const tick = () => {
    if (--left <= 0) throw new MarketError('ERR_INTERNAL', 'crash')
  }
  const guarded = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(inner, name) {
        const method = Reflect.get(inner, name)
        if (typeof method !== 'function') return method
        return async (...args: unknown[]) => {
          if (moment === 'before' || left <= 0) tick()
          const result = await method.apply(inner, args)
          if (moment === 'after') tick()
          return result
        }
      },
    })
  const home = new Proxy(site.ctx.home, {
    get(inner, name) {
      const value = Reflect.get(inner, name)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (name === 'path' && args[0] === 'contracts') tick()
        return value.apply(inner, args)
      }
    },
  })
  const at: Site = {
    ...site,
    ctx: { ...site.ctx, home },
    chain: async () => guarded(await site.chain()),
    purse: async () => guarded(await site.purse()),
    peer: (kept) => guarded(site.peer(kept)),
  }
  return { at, hasCrashed: () => left <= 0 }
}

t.test('a relay that asks for more than was audited is refused, and has what was audited', async (t) => {
  const { site, order, scripted, mine, balance } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  scripted.script.owed = 50_000
  await scripted.request(id, 50_000)
  const [disputed] = await tend(site, agent(scripted, { audited: 2000, verdict: 'explained' }))
  t.match(disputed!.kept.state, { state: 'disputed', settled: 2000, paid: 2000 })
  t.match(scripted.deals.get(id), { settled: 2000 })
  t.ok(scripted.asked.includes('ContractPaymentRefused'))

  const before = await balance()
  const [proven] = await tend(site, agent(scripted, { audited: 50_000 }))
  t.match(proven!.kept.state, { state: 'closed' }, 'evidence came: what was asked for is signed')
  await mine(6)
  await tend(site, agent(scripted))
  t.equal((await balance()) - before, 60_000)
})

t.test('what is asked for within the audit ends it at once', async (t) => {
  const { site, order, scripted, mine, balance } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  const before = await balance()
  await scripted.request(id, 700)
  const [ended] = await tend(site, agent(scripted, { audited: 800 }))
  t.match(ended!.kept.state, { state: 'closed', spend: { end: { kind: 'settled', paid: 700 } } })
  await mine(6)
  await tend(site, agent(scripted))
  t.equal((await balance()) - before, 109_300)
})

t.test('nothing forged is settled, and nothing is signed beyond audit and deposit', async (t) => {
  const { site, order, scripted, mine } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  scripted.script.owed = 90_000
  scripted.script.reserved = 1_000_000
  const [forged] = await tend(site, agent(scripted, { audited: 80_000, verdict: 'forged' }))
  t.match(forged!.kept.state, { state: 'active', settled: 0 })
  t.ok((forged!.kept.state as any).paid <= 5000)
  const [unproven] = await tend(
    site,
    agent(scripted, { audited: 1000, unproven: 50_000, verdict: 'unproven' }),
  )
  t.equal(unproven!.error, undefined)
  t.ok(scripted.deals.get(id)!.paid <= 6000)
})

t.test('a contract goes over into the next, with more in it', async (t) => {
  const { site, order, scripted, mine, balance } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  await tend(site, agent(scripted))
  const before = await balance()
  let plan: any
  const agree = async (shown: unknown) => {
    plan = shown
    return true
  }
  const next = await renew(site, id, { offer: scripted.offer, audited: 3000, topUp: 20_000, agree })
  t.match(next, { state: { state: 'active' }, renews: { id, paid: 3000 } })
  t.equal(plan.budget, 117_000)
  t.equal(termsOf(next!).budget, 117_000)
  await mine(6)
  const tended = await tend(site, agent(scripted))
  t.match(
    tended.map(({ kept }) => kept.state.state),
    ['closed', 'active'],
  )
  t.match(tended[0]!.kept.state, { spend: { end: { kind: 'rollover' } } })
  const spent = before - (await balance())
  t.ok(spent >= plan.stake && spent <= plan.stake + plan.stakeFee, `${spent} for a stake of ${plan.stake}`)

  const closed = await close(site, next!.id, { audited: 500 })
  t.equal(closed.state.state, 'closed')
  await mine(6)
  t.same((await tend(site, agent(scripted))).length, 1)
  t.equal((await balance()) - before, 117_000 - 500 + 10_000 - spent)
})

t.test('an agent makes the next contract before the relay asks for the end', async (t) => {
  const { site, order, scripted, market, mine } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  await market.passTime(28 * 86_400 + 3600)
  const [first] = await tend(site, agent(scripted, { audited: 1000 }, true))
  t.equal(first!.error, undefined)
  t.ok(scripted.asked.includes('ContractRollover'))
  const all = await keptContracts(site.ctx.home)
  t.match(
    all.map(({ renews }) => renews?.id ?? null),
    [null, id],
  )
  t.equal(all[1]!.state.state, 'active')
})

t.test('nobody is asked for more in silence: fees, deposits, and prices of the next contract', async (t) => {
  const { site, order, scripted, market, mine } = await setUp(t)
  for (const change of [{ closeFee: 1000 }, { feeRate: 2000, closeFee: 680 }])
    await t.rejects(open(site, { ...order, offer: { ...scripted.offer, ...change } }), { code: 'ERR_COST' })
  const dear = { ...order, offer: { ...scripted.offer, depositServer: 200_000 } }
  await t.rejects(open(site, dear), { code: 'ERR_USAGE' }, 'a budget is no less than what the relay puts in')
  await open(site, order)
  await mine(6)
  await market.passTime(28 * 86_400 + 3600)
  const prices = { ...scripted.offer.prices, egressGB: 100_001 }
  const more = [
    { prices },
    { feeRate: 101 },
    { closeFee: 150 },
    { depositServer: 6000 },
    { closeMargin: 21_601 },
    { openSeconds: 601 },
  ]
  for (const change of more) {
    const dearer = { ...agent(scripted), offer: async () => ({ ...scripted.offer, ...change }) }
    const [pass] = await tend(site, dearer)
    const message = /more than you agreed to, .* instead of \d+: relay contract renew/
    t.match(pass!.error, { code: 'ERR_COST', message }, JSON.stringify(change))
  }
  t.equal((await keptContracts(site.ctx.home)).length, 1)
})

t.test(
  'a renewal goes by what the relay offers now: what is cheaper at once, what is dearer once agreed on',
  async (t) => {
    const { site, order, scripted, mine } = await setUp(t)
    const { id } = (await open(site, order))!
    await mine(6)
    await tend(site, agent(scripted))
    const changes = { closeFee: 150, depositServer: 6000, closeMargin: 30_000, feeRate: 110 }
    const offer = { ...scripted.offer, ...changes }
    const greedy = { ...offer, depositServer: 9000 }
    const renewing = { offer, audited: 3000, topUp: 10_000 }
    await t.rejects(renew(site, id, { ...renewing, offer: greedy, agree: yes }), {
      message: /1000 more than come over/,
    })
    t.equal(await renew(site, id, { ...renewing, agree: async () => false }), undefined)

    let plan: any
    const agree = async (shown: unknown) => {
      plan = shown
      return true
    }
    const next = await renew(site, id, { ...renewing, agree })
    t.match(plan, { closeFee: 150, relayDeposit: 6000, deposit: 12_000 }, 'all of it was shown')
    t.match(termsOf(next!), { ...changes, depositClient: 12_000 })
    await mine(6)
    const [, cheaper] = await tend(site, agent(scripted))
    t.match(cheaper!.kept.state, { state: 'active', depth: 6 })
  },
)

t.test('an end that is asked for with what is none hinders nothing else, and is told', async (t) => {
  const { site, order, scripted, alice, mine } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  const deal = scripted.deals.get(id)!
  const { txid } = deal
  deal.txid = '9'.repeat(64)
  await scripted.request(id, 700)
  deal.txid = txid!
  scripted.script.said.push({ type: 'ContractRequestPayment', contract: id, paid: 700, tx: 'abcd' })
  scripted.script.owed = 900

  const [pass] = await tend(site, agent(scripted, { audited: 900 }))

  t.match(pass, { error: undefined, kept: { state: { state: 'active', settled: 900 } } })
  const told = alice.notices.filter(({ type }) => type === 'relay-failed')
  t.match(told, [
    { error: { code: 'ERR_UNTRUSTED', message: /is none/ } },
    { error: { code: 'ERR_UNTRUSTED' } },
  ])
  t.equal(told.length, 2)
})

t.test('a relay without a stake of its own: that is said before anything is staked', async (t) => {
  const { site, order, scripted, balance } = await setUp(t)
  const before = await balance()
  let text = ''
  const agree = async (plan: Plan) => {
    text = planLines(plan, 'relay.test')
    return false
  }

  await open(site, { ...order, offer: { ...scripted.offer, isReady: false }, agree })

  t.match(text, /opens +LATER: the relay has no coins of its own ready/)
  t.match(text, /begins +until 20.*Z, or your stake comes back/)
  t.equal(await balance(), before)
  await open(site, { ...order, agree })
  t.notMatch(text, /LATER/)
})

t.test('what a relay lends, it says: a payment is due by that', async (t) => {
  const { site, order, scripted, mine } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  scripted.script.owed = 1
  await tend(site, agent(scripted, { audited: 1 }))
  scripted.script.owed = 45 // more than a quarter of what is lent usually, and less than one of what this relay lends
  const lending = (firstCredit: number) => ({
    ...agent(scripted, { audited: 45 }),
    offer: async () => ({ ...scripted.offer, credit: { ...scripted.offer.credit, firstCredit } }),
  })
  await tend(site, lending(10_000))
  const settled = async () => ((await keptContract(site.ctx.home, id))!.state as any).settled
  const early = await settled()
  await tend(site, lending(100))
  t.same([early, await settled()], [1, 45])
})

t.test('a renewal that the relay does not sign is taken back, and the old contract goes on', async (t) => {
  const { site, order, scripted, market, mine, balance } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(6)
  const before = await balance()
  scripted.script.before = ({ type }) => {
    if (type === 'ContractRollover') throw new MarketError('ERR_BUSY', 'later')
  }
  await renew(site, id, { offer: scripted.offer, audited: 3000, agree: yes }).catch(() => undefined)
  await market.passTime(700)
  for (let left = 3; left > 0; left--) {
    await tend(site, agent(scripted))
    await mine(6)
  }
  await tend(site, agent(scripted))
  const [old, next] = await keptContracts(site.ctx.home)
  t.match(old!.state, { state: 'active', renewal: null })
  t.equal(next!.state.state, 'cancelled')
  t.ok(before - (await balance()) < 150, 'the stake came back')
})

t.test('blocks are undone: what they had is looked at anew', async (t) => {
  const { site, order, scripted, market, mine } = await setUp(t)
  const { id } = (await open(site, order))!
  await mine(3)
  await tend(site, agent(scripted))
  await close(site, id, { audited: 0 })
  await mine(2)
  t.match((await tend(site, agent(scripted)))[0]!.kept.state, { state: 'closed', spend: { depth: 2 } })
  await market.devnet.node.reorganize(2)
  const [after] = await tend(site, agent(scripted))
  t.match(after!.kept.state, { state: 'closed' })
})

t.test('what the stake of the relay hangs on is undone: the own one comes back', async (t) => {
  const market = await openMarket(t) // what spent the stake is looked for in all of its blocks
  const { devnet } = market
  const coins: Coin[] = []
  /** Hangs on a coin in a block, and is in none itself. */
  const pay = async (script: Uint8Array, satoshis: number) => {
    const coin = await devnet.coin(satoshis + feeFor(192, leastFeeRate))
    await devnet.node.mine(1)
    coins.push(coin)
    return devnet.chain.broadcast(spend(coin, { script }).bytes)
  }
  const relay = scriptRelay({ ...market, devnet: { ...devnet, node: { pay } as unknown as DevnetNode } })
  const { site, order, balance, mine } = await actor(t, market, 'alice', relay)
  const before = await balance()
  const pass = async (look = tend(site, agent(relay))) => (await look)[0]!.kept.state
  await open(site, order)
  await mine(1)
  t.match(await pass(), { state: 'active', depth: 1 })
  t.equal((await stowedIn(await site.purse(), baskets.joints)).length, 1)

  await devnet.node.reorganize(1, [spend(coins[0]!).bytes])
  await market.passTime(700)
  t.match(await pass(), { state: 'active', depth: 0 }, 'not on one look alone')
  t.equal((await stowedIn(await site.purse(), baskets.stakes)).length, 1, 'a backup of the wallet has it')
  t.match(await pass(), { state: 'cancelling' })
  await mine(6)
  t.match(await pass(), { state: 'cancelled' })
  const spent = before - (await balance())
  t.ok(spent > 0 && spent < 100, `${spent} satoshi of fees`)
})

t.test('a stake is let go of once the funding is deep', async (t) => {
  const { site, order, scripted, mine } = await setUp(t)
  await open(site, order)
  await mine(6)
  await tend(site, agent(scripted))
  const purse = await site.purse()
  const stowed = [await stowedIn(purse, baskets.joints), await stowedIn(purse, baskets.stakes)]
  t.same(
    stowed.map(({ length }) => length),
    [1, 0],
  )
})

t.test('a relay that never answers has its time, and takes none of the others', async (t) => {
  const { site, order, scripted, mine } = await setUp(t)
  const slow = scriptRelay(market, 'a slow relay')
  const relay = { url: 'http://slow.test', key: keysOf('a slow relay').identity }
  await open({ ...site, peer: () => slow.peer }, { ...order, relay })
  await open(site, order)
  await mine(6)
  const asked = scripted.asked.length
  let meanwhile = 0
  const hang = (signal: AbortSignal) => async () =>
    new Promise<never>((_, reject) => {
      const end = () => {
        meanwhile = scripted.asked.length - asked
        reject(signal.reason)
      }
      signal.addEventListener('abort', end)
    })
  const peer: Site['peer'] = ({ relay: at }, signal) =>
    at?.includes('slow') ? { ask: hang(signal!), unasked: hang(signal!) } : scripted.peer

  const passes = await tend({ ...site, peer }, { ...agent(scripted, { audited: 900 }), budgetMs: 1000 })

  const [other, late] = passes.toSorted((a, b) => Number('error' in a) - Number('error' in b))
  t.match(late, { error: { code: 'ERR_UNREACHABLE', message: /more than 1 s/ }, kept: { relay: /slow/ } })
  t.match(other, { error: undefined, kept: { state: { state: 'active', depth: 6 } } })
  t.ok(meanwhile > 0, 'the other was not kept waiting')
})

t.test('what cannot be done is said', async (t) => {
  const { site, order, scripted, mine } = await setUp(t)
  t.equal(await open(site, { ...order, agree: async () => false }), undefined)
  const { id } = (await open(site, order))!
  await mine(1)
  await t.rejects(refund(site, id), { code: 'ERR_CONFLICT', message: /comes back from/ })
  await t.rejects(refund(site, 'ff'.repeat(32)), { code: 'ERR_NOT_FOUND' })
  await t.rejects(open(site, { ...order, wish: { ...order.wish, budget: 1 } }), { code: 'ERR_USAGE' })
  await t.rejects(open(site, { ...order, offer: { ...scripted.offer, isOpen: false } }), {
    code: 'ERR_UNSUPPORTED',
  })
  const idle = { ...order, offer: { ...scripted.offer, openSeconds: 3601 } }
  await t.rejects(open(site, idle), { code: 'ERR_UNSUPPORTED', message: /wait for 3601 seconds/ })
})

t.test('a stake that only the wallet remembers goes back to it', async (t) => {
  const { site, order, scripted, market, mine, balance } = await setUp(t)
  const before = await balance()
  scripted.script.before = () => {
    throw new MarketError('ERR_BUSY', 'gone')
  }
  await open(site, order).catch(() => undefined)
  const other = await market.user('nobody', { satoshis: 0 })
  const again: Site = { ...site, ctx: { ...site.ctx, home: other.ctx.home } }
  const [found] = await recover(again)
  t.equal(found!.state.state, 'cancelling')
  await mine(6)
  t.match((await tend(again, agent(scripted)))[0]!.kept.state, { state: 'cancelled' })
  t.ok(before - (await balance()) < 100)
})

t.test('without expiry nothing comes back by itself, and agreed ends do', async (t) => {
  const { site, order, mine, market, balance } = await setUp(t)
  const before = await balance()
  const kept = await open(site, { ...order, wish: { ...order.wish, isBare: true } })
  await mine(6)
  await market.passTime(40 * 86_400)
  await t.rejects(refund(site, kept!.id), { code: 'ERR_CONFLICT', message: /no expiry/ })
  t.match((await close(site, kept!.id, {})).state, { state: 'closed' })
  t.ok(before - (await balance()) < 250)
})
