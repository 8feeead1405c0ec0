/** What it brings to open contracts and to let them be: nothing, and nobody else has to wait. */
import t from 'tap'
import { shareOf } from '../../contracts/escrow/contract.ts'
import { sha256Hex } from '../../market/hash.ts'
import type { MarketError } from '../../market/errors.ts'
import { serverStakeDue } from '../../contracts/escrow/transactions.ts'
import { Policy } from '../../relay/escrow/policy-options.ts'
import { type Desk, furnish, openEscrowScene } from '../fixtures/escrow.ts'
import { strangersOf } from '../fixtures/strangers.ts'

t.setTimeout(120_000)

const codeOf = (opening: Promise<unknown>): Promise<string> =>
  opening.then(
    () => 'ok',
    (error: MarketError) => error.code,
  )

const balanceOf = async ({ wallet }: Pick<Desk, 'wallet'>): Promise<number> => {
  const { confirmed, unconfirmed, reserved } = await wallet.balance()
  return confirmed + unconfirmed + reserved
}

t.test('a thousand openings of one address hold three stakes, and keep nobody out', async (t) => {
  const scene = await openEscrowScene(t)
  const policy = Policy.parse({})
  const desk = await scene.desk({ policy })
  await furnish(scene, desk, 200_000)
  const [rounds, perRound, genuine] = [10, 100, 4]
  const rich = await scene.open('the attacker')
  await scene.fund(rich, Array(rounds).fill(1_400_000))
  const honest = await scene.client('honest', [400_000])
  const before = await balanceOf(desk)
  const answers: Record<string, number> = {}
  let most = 0
  for (let round = 0; round < rounds; round++) {
    const names = Array.from({ length: genuine }, (_, n) => `attacker ${round}.${n}`)
    const strangers = await strangersOf(scene, rich, names)
    const openings = strangers.map(({ client, deal }) => ({ from: client.key, open: deal.open }))
    for (let n = genuine; n < perRound; n++) {
      const { from, open } = openings[n % genuine]!
      openings.push({ from, open: { ...open, terms: { ...open.terms, nonce: sha256Hex(`${round} ${n}`) } } })
    }
    for (const { from, open } of openings) {
      const code = await codeOf(desk.contracts.open(open, { from, address: '192.0.2.1' }))
      answers[code] = (answers[code] ?? 0) + 1
    }
    if (round === 5) {
      const caller = { from: honest.key, address: '192.0.2.2' }
      const deal = await honest.deal()
      const { draft: _, ...signed } = await honest.signed(deal, await desk.contracts.open(deal.open, caller))
      t.ok(await desk.contracts.sign(signed, caller), 'an honest user opens meanwhile, free of charge')
    }
    await desk.pass()
    most = Math.max(most, desk.contracts.tally.states.reserved)
    scene.clock.now += 121_000
    await desk.pass()
    t.equal(desk.contracts.tally.states.reserved, 0, 'each is over after two minutes')
  }
  t.same(answers, { ok: 3 * rounds, ERR_LIMIT: (perRound - 3) * rounds })
  t.equal(most, policy.openingsPerAddress)
  t.ok(most * serverStakeDue(policy) < 16_000, 'so much is locked')
  t.match(desk.contracts.tally.stakes, { free: 7, used: 1, reserved: 0 })
  t.equal(await balanceOf(desk), before, 'no coin was moved for any of it')
  t.same(await desk.differences(), [])
})

t.test('open, use, vanish, with fresh keys, a hundred times', async (t) => {
  const scene = await openEscrowScene(t)
  const count = 100
  const desk = await scene.desk({ policy: { poolSize: count } })
  await furnish(scene, desk, 700_000)
  const rich = await scene.open('the attacker')
  await scene.fund(rich, [50_000_000])
  const paidIn = 50_000_000
  const strangers = await strangersOf(
    scene,
    rich,
    Array.from({ length: count }, (_, n) => `vanishing ${n}`),
  )
  for (const { client, deal } of strangers) {
    const inputs = await desk.contracts.open(deal.open, client.caller)
    const { draft: _, ...signed } = await client.signed(deal, inputs)
    await desk.contracts.sign(signed, client.caller)
  }
  await scene.devnet.node.mine(6)
  for (let pass = 0; pass < 2; pass++) await desk.pass()
  t.match(desk.contracts.tally, { states: { active: count }, stakes: { used: count } })
  for (const { client } of strangers)
    for (const bytes of [110_000, 10_000]) await codeOf(desk.write(client.wallet, bytes)) // until the credit is used
  // Every record is served to its end.
  scene.clock.now += 8 * 86_400_000
  let services = 0
  for (const { client, deal } of strangers) {
    const { owed, reserved } = await desk.contracts.state(deal.id, client.key)
    services += owed + reserved
  }
  await scene.passTime(23 * 86_400)
  for (let pass = 0; pass < 3; pass++) await desk.pass()
  await scene.devnet.node.mine(6)
  for (let pass = 0; pass < 6 && desk.contracts.tally.ends.expiry < count; pass++) await desk.pass()
  t.equal(desk.contracts.tally.ends.expiry, count, 'each is over by time')
  const { confirmed, unconfirmed } = await rich.balance()
  const returned = strangers.reduce(
    (sum, { deal }) => sum + shareOf(deal.contract, { kind: 'expiry' }, 'client'),
    0,
  )
  const lost = paidIn - (confirmed + unconfirmed) - returned
  t.ok(services > 0.7 * 140 * count, `served for ${services} satoshi`)
  t.ok(services <= lost, `it has cost him ${lost} satoshi`)
  t.same(await desk.differences(), [])
})
