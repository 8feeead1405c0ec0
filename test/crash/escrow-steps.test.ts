/** Contracts whose relay ends at any step, and one that is restored: nothing is lost, nothing is signed twice or too low. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { MarketError } from '../../market/errors.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { metaKey } from '../../relay/store/keys.ts'
import { decodeMeta, restoredMeta, writeMeta } from '../../relay/store/meta.ts'
import { confirmRestore } from '../../relay/store/withdrawals.ts'
import {
  type Deal,
  type Desk,
  type EscrowClient,
  furnish,
  furnished,
  openedDeal,
  openEscrowScene,
} from '../fixtures/escrow.ts'
import { mortal } from '../fixtures/steps.ts'
import { crash } from '../fixtures/till.ts'

t.setTimeout(240_000)

/** More than there are; a run that comes to its end is the last. */
const mostSteps = 80

/** Everything that a client does, as often as it takes. */
async function live(
  desk: Desk,
  alice: EscrowClient,
  deal: Deal,
  mine: (blocks: number) => Promise<unknown>,
): Promise<string> {
  const { contracts } = desk
  const { draft: _, ...signed } = await alice.signed(deal, await contracts.open(deal.open, alice.caller))
  deal.joint = { txid: (await contracts.sign(signed, alice.caller)).txid, vout: 0 }
  for (const [paid, settled] of [
    [300, 300],
    [700, 500],
  ] as const) {
    const paying = contracts.pay(await alice.payment(deal, paid, settled), alice.key)
    // What more was signed for since, or what is closed, takes no less.
    await paying.catch((error: MarketError) => {
      if (error.code !== 'ERR_CONFLICT') throw error
    })
  }
  await mine(1)
  await desk.pass()
  const { txid } = await contracts.end(await alice.refund(deal, 700), alice.key)
  await mine(6)
  await desk.pass()
  return txid
}

/** Each run begins with the same coins, of which those before have spent some. */
const policy = { poolSize: 100 }

t.test('a contract whose relay ends at each step of its life', async (t) => {
  const scene = await openEscrowScene(t)
  const first = await scene.desk({ policy })
  await furnish(scene, first)
  await first.close()
  const alice = await scene.client(
    'alice',
    Array.from({ length: mostSteps }, () => 320_000),
  )
  const mine = (blocks: number) => scene.devnet.node.mine(blocks)
  let last = 1
  // Every fifth: each begins from the beginning, and one after the other would take its time.
  for (; last < mostSteps; last += 5) {
    const [from, to] = [`relay ${last}`, `relay ${last} again`]
    crash(scene, 'relay', from)
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to), { isArmed: false })
    const before = await scene.desk({ folder: from, chain: seen(scene.devnet.chain), step, policy })
    await before.pass()
    state.isArmed = true
    const deal = await alice.deal()
    await live(before, alice, deal, mine).catch(() => undefined)
    state.isArmed = false
    if (!state.isDead) break

    const after = await scene.desk({ folder: to, policy })
    if (last % 2 === 0) await after.pass()
    const closing = await live(after, alice, deal, mine)
    await after.pass()
    t.match(
      after.kept(deal.id),
      { facts: { isBooked: true }, state: { spend: { txid: closing, end: { kind: 'settled', paid: 700 } } } },
      `step ${last}`,
    )
    t.match(after.purse(alice.key, deal.id), { received: 300_000, returned: 299_300 })
    t.same(await after.differences(), [])
    await after.close()
  }
  t.ok(last > 10 && last < mostSteps, `there are ${last - 1} steps`)
})

t.test('a renewal whose relay ends at each step', async (t) => {
  const scene = await openEscrowScene(t)
  const first = await scene.desk({ policy })
  await furnish(scene, first)
  await first.close()
  let last = 1
  for (; last < mostSteps; last++) {
    const [from, to] = [`relay ${last}`, `relay ${last} again`]
    crash(scene, 'relay', from)
    const { state, step, from: seen } = mortal(last, () => crash(scene, from, to), { isArmed: false })
    const before = await scene.desk({ folder: from, chain: seen(scene.devnet.chain), step, policy })
    await before.pass()
    const alice = await scene.client(`alice ${last}`, [420_000, 420_000])
    const deal = await alice.open(before)
    await scene.devnet.node.mine(6)
    await before.pass()
    await before.contracts.pay(await alice.payment(deal, 800, 400), alice.key)
    await before.write(alice.wallet, 400_000)
    const { owed } = await before.contracts.state(deal.id, alice.key)
    const { next, request } = await alice.rollover(deal, owed)
    await scene.devnet.node.mine(1)
    state.isArmed = true
    await before.contracts.renew(request, alice.key).catch(() => undefined)
    state.isArmed = false
    if (!state.isDead) break

    const after = await scene.desk({ folder: to, policy })
    if (last % 2 === 0) await after.pass()
    next.joint = { txid: (await after.contracts.renew(request, alice.key)).txid, vout: 0 }
    t.match(after.purse(alice.key, next.id), { received: 310_000 }, `step ${last}`)
    t.same(await scene.devnet.chain.mempool(), [next.joint.txid], 'one rollover')
    await scene.devnet.node.mine(6)
    await after.pass()
    await after.pass()
    t.match(after.kept(deal.id), {
      facts: { isBooked: true },
      state: { spend: { end: { kind: 'rollover' } } },
    })
    t.ok(await after.contracts.end(await alice.refund(next, 700), alice.key))
    await scene.devnet.node.mine(6)
    await after.pass()
    t.same(await after.differences(), [])
    await after.close()
  }
  t.ok(last > 3 && last < mostSteps, `there are ${last - 1} steps`)
})

t.test('a relay that is restored signs nothing and takes no write until it is confirmed', async (t) => {
  const { scene, desk, alice, deal } = await openedDeal(t)
  crash(scene, 'relay', 'restored')
  await desk.contracts.pay(await alice.payment(deal, 3000, 1000), alice.key)
  await desk.close()
  cpSync(join(scene.directory, 'relay/payments.log'), join(scene.directory, 'restored/payments.log'))
  const database = await openDatabase(join(scene.directory, 'restored/store'))
  const meta = decodeMeta(database.get(metaKey('store'))!)
  await writeMeta(database, restoredMeta(meta, { now: scene.clock.now, lastPlace: 0 }))
  await database.close()

  const again = await scene.desk({ folder: 'restored' })
  t.match(again.kept(deal.id)?.state, {
    state: 'held',
    was: { progress: [{ paid: 3000 }], settled: { paid: 1000 } },
  })
  await again.pass()
  await t.rejects(again.write(alice.wallet, 20), { code: 'ERR_BUSY' })
  await t.rejects(again.contracts.end(await alice.refund(deal, 2000), alice.key), { code: 'ERR_CONFLICT' })
  t.match(await again.contracts.pay(await alice.payment(deal, 3500, 1000), alice.key), { paid: 3500 })
  await again.store.commit((batch) => confirmRestore(batch, again.store.meta))
  await again.pass()
  t.match(again.kept(deal.id)?.state, { state: 'active' })
  t.ok(await again.write(alice.wallet, 20))
  t.ok(await again.contracts.end(await alice.refund(deal, 2000), alice.key))
  t.same(await again.differences(), [])
})

t.test('a funding that a restored relay does not remember to have signed', async (t) => {
  const { scene, desk } = await furnished(t)
  const alice = await scene.client('alice')
  const deal = await alice.deal()
  const { draft: _, ...signed } = await alice.signed(deal, await desk.contracts.open(deal.open, alice.caller))
  crash(scene, 'relay', 'restored')
  deal.joint = { txid: (await desk.contracts.sign(signed, alice.caller)).txid, vout: 0 }
  await desk.close()
  await scene.devnet.node.mine(6)
  const again = await scene.desk({ folder: 'restored' })
  await again.pass()
  t.match(again.kept(deal.id)?.state, { state: 'held', was: { joint: deal.joint, depth: 6 } })
  t.match(again.purse(alice.key, deal.id), { received: 300_000 })
  await again.contracts.pay(await alice.payment(deal, 300), alice.key)
  await again.pass()
  t.equal(again.kept(deal.id)?.state.state, 'active')
  t.ok(await again.contracts.end(await alice.refund(deal, 300), alice.key))
  t.same(await again.differences(), [])
})
