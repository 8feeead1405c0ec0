/** Contracts whose relay was away, is drained, was restored, or sees little: nothing is late, nothing is forgotten. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Chain } from '../../contracts/chain/chain.ts'
import { walletSigner } from '../../contracts/escrow/keys.ts'
import { serverDeadline } from '../../contracts/escrow/server-machine.ts'
import { newServer } from '../../contracts/escrow/server-state.ts'
import { completeState, signState } from '../../contracts/escrow/signatures.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { seal } from '../../market/envelope.ts'
import { sha256Hex } from '../../market/hash.ts'
import { parsePath } from '../../market/record.ts'
import { looksPerPass, Rota } from '../../relay/escrow/rota.ts'
import { type Kept, putDraining } from '../../relay/store/contracts.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { metaKey } from '../../relay/store/keys.ts'
import { decodeMeta, restoredMeta, writeMeta } from '../../relay/store/meta.ts'
import { confirmRestore } from '../../relay/store/withdrawals.ts'
import {
  type Deal,
  type Desk,
  type EscrowScene,
  furnished,
  openedDeal,
  openEscrowScene,
} from '../fixtures/escrow.ts'
import { crash } from '../fixtures/till.ts'

t.setTimeout(120_000)

/** What has money in it. */
const live = (kept: Kept | undefined): any => (kept?.state.state === 'held' ? kept.state.was : kept?.state)

const until = (scene: EscrowScene, deal: Deal, marginsBefore: number): number => {
  const { expiry, closeMargin } = deal.contract.terms
  return expiry - marginsBefore * closeMargin - Math.floor(scene.clock.now / 1000)
}

t.test(
  'a relay that was away does what is due when it comes up: asks for the end, closes alone',
  async (t) => {
    const { scene, alice, deal, ...opened } = await openedDeal(t)
    let { desk } = opened
    await desk.contracts.pay(await alice.payment(deal, 2000, 1500), alice.key)
    await desk.write(alice.wallet, 1_400_000)
    const comesUp = async (marginsBefore: number) => {
      await desk.close()
      await scene.passTime(until(scene, deal, marginsBefore))
      desk = await scene.desk()
      await desk.pass()
    }
    await comesUp(3)
    t.match(desk.kept(deal.id)?.state, { state: 'closing', publish: null })
    t.ok(live(desk.kept(deal.id)).asked > 1400, 'a margin late, and at once')
    t.match(desk.contracts.tally, { states: { closing: 1 }, nearAlarm: 0, alone: 0 })
    await comesUp(1.5)
    t.match(desk.contracts.tally, { nearAlarm: 1, alone: 0, value: 300_000, paid: 2000 })
    await comesUp(0.25)
    t.match(await scene.devnet.chain.mempool(), [String], 'past its alarm, but in time')
    t.match(desk.contracts.tally, { nearAlarm: 0, alone: 1 })
    t.match(desk.warnings, [/"contract"/])
    await scene.devnet.node.mine(6)
    await desk.pass()
    t.match(desk.kept(deal.id)?.state, { spend: { end: { kind: 'settled', paid: 1500 } } })
    await desk.pass()
    t.match(desk.contracts.tally, { ends: { settled: 1 }, earned: 1500, stakes: { used: 0 } })
    t.same(await desk.differences(), [])
  },
)

t.test('a budget that is used up ends its contract; drained, old ones are served and closed', async (t) => {
  const { scene, desk } = await furnished(t, { policy: { depositServer: 1000 } })
  const alice = await scene.client('alice')
  const small = { budget: 1000, creditLimit: 1000, depositServer: 1000 }
  const deal = await alice.open(desk, small)
  await scene.devnet.node.mine(6)
  await desk.store.commit((batch) => putDraining(batch, true))
  await desk.pass()
  t.match(desk.contracts.offer, { isOpen: false })
  await desk.contracts.pay(await alice.payment(deal, 1000, 900), alice.key)
  const path = await desk.write(alice.wallet, 885_000)
  await desk.pass()
  t.equal(desk.kept(deal.id)?.state.state, 'active', 'drained, and served')
  const fields = { to: scene.relay.identity, timestamp: scene.clock.now, request: { type: 'read', path } }
  const { hash, text } = await seal(fields, scene.relay)
  const read = { path: parsePath(path), hash, text, until: Number.MAX_SAFE_INTEGER }
  t.match(await desk.store.read(read), { outcome: 'record' })
  scene.clock.now += 7.01 * 86_400_000
  await desk.pass()
  const { owed } = await desk.contracts.state(deal.id, alice.key)
  t.ok(owed >= 990 && owed <= 1000, `${owed} of 1000 are used`)
  t.match(desk.kept(deal.id)?.state, { state: 'closing', asked: owed }, 'its client is asked for the end')
  const { request } = await alice.rollover(deal, owed, { depositServer: 1000 })
  await t.rejects(desk.contracts.renew(request, alice.key), { code: 'ERR_FORBIDDEN' })
  t.ok(await desk.contracts.end(await alice.refund(deal, owed), alice.key))
  await scene.devnet.node.mine(6)
  await desk.pass()
  await desk.pass()
  t.match(desk.contracts.tally, { ends: { settled: 1 }, earned: owed })
  t.same(await desk.differences(), [])
})

t.test('records are served as promised; once an end is chosen, no more than it pays for', async (t) => {
  const { scene, desk } = await furnished(t)
  const alice = await scene.client('alice')
  const deal = await alice.open(desk)
  await scene.passTime(until(scene, deal, 6))
  await desk.pass()
  await desk.contracts.pay(await alice.payment(deal, 2150, 100), alice.key)
  const [one, two] = [await desk.write(alice.wallet, 1_000_000), await desk.write(alice.wallet, 1_000_000)]
  const read = async (path: string) => {
    const fields = { to: scene.relay.identity, timestamp: scene.clock.now, request: { type: 'read', path } }
    const { hash, text } = await seal(fields, scene.relay)
    const asked = { path: parsePath(path), hash, text, until: Number.MAX_SAFE_INTEGER }
    const isCovered = desk.contracts.isCovered.bind(desk.contracts)
    return (await desk.store.read({ ...asked, isCovered })).outcome
  }
  await scene.passTime(until(scene, deal, 3.9))
  await desk.pass()
  t.match(desk.kept(deal.id)?.state, { state: 'active', lowestSigned: null }, 'the end waits for them')
  t.equal(await read(one), 'record')
  await scene.passTime(until(scene, deal, 1) - 900)
  await desk.pass()
  t.match(desk.kept(deal.id)?.state, { state: 'closing', publish: { kind: 'progress', paid: 2150 } })
  t.equal(await read(two), 'unpaid')
  t.same(await desk.differences(), [])
})

async function restore(scene: EscrowScene, folder: string): Promise<void> {
  const database = await openDatabase(join(scene.directory, folder, 'store'))
  const meta = decodeMeta(database.get(metaKey('store'))!)
  await writeMeta(database, restoredMeta(meta, { now: scene.clock.now, lastPlace: 0 }))
  await database.close()
}

t.test(
  'restored: what was signed since the backup is known from the payment log, and only from it',
  async (t) => {
    const { scene, desk, alice, deal } = await openedDeal(t)
    await desk.contracts.pay(await alice.payment(deal, 3000, 1000), alice.key)
    await desk.write(alice.wallet, 1_000_000, { days: 20 })
    for (const folder of ['with its log', 'without']) crash(scene, 'relay', folder)
    await desk.contracts.pay(await alice.payment(deal, 3500, 1000), alice.key)
    await scene.passTime(until(scene, deal, 3.9))
    await desk.pass()
    const asked = live(desk.kept(deal.id)).lowestSigned
    t.ok(asked > 1000)
    await desk.close()
    cpSync(join(scene.directory, 'relay/payments.log'), join(scene.directory, 'with its log/payments.log'))
    scene.clock.now += 14 * 3_600_000

    const come = async (folder: string): Promise<Desk> => {
      await restore(scene, folder)
      const again = await scene.desk({ folder })
      await again.pass()
      t.equal(again.kept(deal.id)?.state.state, 'held', 'until a person has confirmed it')
      t.equal(again.contracts.tally.states.held, 1)
      await t.rejects(again.contracts.end(await alice.refund(deal, 3500), alice.key), {
        code: 'ERR_CONFLICT',
      })
      return again
    }
    const confirm = async (again: Desk): Promise<number> => {
      await again.store.commit((batch) => confirmRestore(batch, again.store.meta))
      await again.pass()
      t.equal(again.kept(deal.id)?.state.state, 'closing')
      const { lowestSigned } = live(again.kept(deal.id))
      await again.close()
      return lowestSigned
    }
    const first = await come('with its log')
    t.match(live(first.kept(deal.id)).progress, [{ paid: 3000 }, { paid: 3500 }], 'paid after the backup')
    t.equal(await confirm(first), asked)
    const second = await come('without')
    t.match(live(second.kept(deal.id)).progress, [{ paid: 3000 }])
    t.match(
      await second.contracts.pay(await alice.payment(deal, 3500, 1000), alice.key),
      { paid: 3500 },
      'its client says it again',
    )
    t.equal(await confirm(second), asked, 'nothing was reserved, so that it asks for the same again')
  },
)

t.test(
  'restored: contracts opened and renewed since the backup come back held, and their money',
  async (t) => {
    const { scene, desk } = await furnished(t)
    const [alice, bob] = [await scene.client('alice', [400_000, 400_000]), await scene.client('bob')]
    const old = await alice.open(desk)
    await scene.devnet.node.mine(6)
    await desk.pass()
    crash(scene, 'relay', 'backup')
    const { next, request } = await alice.rollover(old, 300)
    next.joint = { txid: (await desk.contracts.renew(request, alice.key)).txid, vout: 0 }
    const deal = await bob.open(desk)
    await scene.devnet.node.mine(6)
    await desk.pass()
    await desk.contracts.pay(await bob.payment(deal, 3000, 2000), bob.key)
    await desk.close()
    cpSync(join(scene.directory, 'relay/payments.log'), join(scene.directory, 'backup/payments.log'))
    await restore(scene, 'backup')

    for (const start of ['at first', 'again']) {
      const again = await scene.desk({ folder: 'backup' })
      t.equal(again.kept(deal.id)?.state.state, 'held', start)
      t.match(live(again.kept(deal.id)), { progress: [{ paid: 3000 }], settled: { paid: 2000 } })
      await again.pass()
      t.match(again.kept(old.id)?.state, { state: 'closed', spend: { end: { kind: 'rollover' } } })
      t.match(again.kept(next.id)?.state, { state: 'held', was: { depth: 6, earnedBefore: 300 } })
      t.match(again.purse(bob.key, deal.id), { received: 300_000 })
      t.same(await again.differences(), [])
      if (start === 'at first') await again.close()
      else {
        await again.store.commit((batch) => confirmRestore(batch, again.store.meta))
        await again.pass()
        t.match(
          [deal, next].map(({ id }) => again.kept(id)?.state.state),
          ['active', 'active'],
        )
        t.ok(await again.contracts.end(await bob.refund(deal, 2000), bob.key))
        await scene.devnet.node.mine(6)
        await again.pass()
        t.match(again.kept(deal.id), { facts: { isBooked: true }, state: { spend: { end: { paid: 2000 } } } })
        t.same(await again.differences(), [])
      }
    }
  },
)

t.test(
  'without blocks to read: that a stranger ended it is noticed, and found once there is a node',
  async (t) => {
    const scene = await openEscrowScene(t)
    const blind = new Proxy(scene.devnet.chain, {
      get(target, name) {
        if (name === 'canScan') return false
        const found = Reflect.get(target, name)
        return typeof found === 'function' ? found.bind(target) : found
      },
    }) as Chain
    const desk = await scene.desk({ chain: blind })
    await scene.fund(desk.wallet, [100_000])
    await desk.pass()
    await scene.devnet.node.mine(1)
    await desk.pass()
    const alice = await scene.client('alice')
    const deal = await alice.open(desk)
    await scene.devnet.node.mine(6)
    await desk.pass()
    t.match(desk.contracts.tally, { states: { active: 1 }, gone: 0 })
    // Only both together can have signed it.
    const state = { kind: 'settled', paid: 70 } as const
    const [client, server] = await Promise.all([
      signState(deal.contract, deal.joint!, state, { side: 'client', signer: walletSigner(alice.wallet) }),
      signState(deal.contract, deal.joint!, state, { side: 'server', signer: walletSigner(scene.relay) }),
    ])
    const whole = await completeState(deal.contract, deal.joint!, state, { client, server })
    await scene.devnet.chain.broadcast(serializeTransaction(whole))
    await scene.devnet.node.mine(8)
    for (let pass = 0; pass < 2; pass++) await desk.pass()
    t.match(desk.contracts.tally, { states: { active: 1 }, gone: 1 })
    t.match(desk.warnings, [String], 'said once')
    await desk.close()
    scene.clock.now += 86_400_000
    const seeing = await scene.desk()
    await seeing.pass()
    await seeing.pass()
    t.match(seeing.kept(deal.id), { facts: { isBooked: true }, state: { spend: { end: state } } })
    t.match(seeing.contracts.tally, { gone: 0, ends: { settled: 1 } })
    t.same(await seeing.differences(), [])
  },
)

t.test(
  'of thousands a bounded number is looked at: those nearest their deadline always, all in turn',
  async (t) => {
    const scene = await openEscrowScene(t)
    const alice = await scene.client('alice', [])
    const count = 1000
    const terms = alice.terms()
    const all = new Map(
      Array.from({ length: count }, (_, n): [string, Kept] => {
        const state = newServer(
          { ...terms, expiry: terms.expiry + n },
          { txid: sha256Hex(`${n}`), jitter: 0, earned: 0 },
        )
        return [
          sha256Hex(`contract ${n}`),
          { state: { ...state, depth: 6 }, facts: { ours: null } } as unknown as Kept,
        ]
      }),
    )
    const ids = [...all.keys()]
    const rota = new Rota()
    const seen = new Set<string>()
    const most = looksPerPass.byDeadline + looksPerPass.byTurn
    let passes = 0
    for (; seen.size < count; passes++) {
      rota.begin(ids, (id) => all.get(id))
      if (passes === 3) rota.wake(ids[999]!)
      const turns = rota.turns()
      t.ok(turns.length <= most)
      t.ok(ids.slice(0, looksPerPass.byDeadline).every((id) => turns.includes(id)))
      if (passes === 3) t.ok(turns.includes(ids[999]!), 'something happened to it')
      for (const id of turns) {
        seen.add(id)
        rota.looked(id, all.get(id)!, { owed: 0, isGone: false })
      }
      if (passes > count) break
    }
    t.ok(passes <= Math.ceil(count / looksPerPass.byTurn) + 1, `${passes} passes`)
    t.ok(serverDeadline(all.get(ids[0]!)!.state)! < serverDeadline(all.get(ids[999]!)!.state)!)
  },
)
