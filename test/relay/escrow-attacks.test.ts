/** What strangers and clients try against a relay's contracts: it loses no service, no coins and no time by it. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { feeFor, leastFeeRate } from '../../contracts/chain/chain.ts'
import { contractOf } from '../../contracts/escrow/contract.ts'
import { escrowKeys, walletSigner } from '../../contracts/escrow/keys.ts'
import { writeFunding } from '../../contracts/escrow/messages.ts'
import { signStakes } from '../../contracts/escrow/signatures.ts'
import {
  draftOf,
  type Funding,
  openingDraft,
  stakeDue,
  unsigned,
} from '../../contracts/escrow/transactions.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { toBase64, toHex } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import type { MarketError } from '../../market/errors.ts'
import { parsePath } from '../../market/record.ts'
import { spend } from '../fixtures/chain.ts'
import {
  type Deal,
  type EscrowClient,
  type EscrowScene,
  furnish,
  furnished,
  openedDeal,
  openEscrowScene,
} from '../fixtures/escrow.ts'
import { strangersOf } from '../fixtures/strangers.ts'
import { beefOf, withMethods } from '../fixtures/wallet.ts'

t.setTimeout(120_000)

const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'ok',
    (error: MarketError) => error.code,
  )

async function count(asked: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const code of await Promise.all(asked.map(codeOf))) counts[code] = (counts[code] ?? 0) + 1
  return counts
}

/** What a client would open with a stake whose parent spends a coin that is in a block. */
async function onCoin({ devnet }: EscrowScene, client: EscrowClient) {
  const terms = client.terms()
  const contract = contractOf(terms, await escrowKeys(client.wallet, terms, 'client'))
  const script = p2pkh(contract.keys.stake.client)
  const satoshis = stakeDue(contract, 'client', 1)
  const coin = await devnet.coin(satoshis + feeFor(192, leastFeeRate))
  await devnet.node.mine(1)
  const parent = spend(coin, { script })
  await devnet.chain.broadcast(parent.bytes)
  const own: Funding = { stakes: [{ txid: parent.txid, vout: 0, satoshis, script }], change: null }
  const open = {
    ...{ type: 'contractOpen' as const, userPubkey: client.key, terms, funding: writeFunding(own) },
    beef: toBase64(Uint8Array.from(await beefOf(devnet.chain, parent.txid))),
    tx: toHex(serializeTransaction(openingDraft(contract, own).transaction)),
  }
  return { coin, deal: { id: contract.id, contract, own, open } }
}

/** Spends the stake of a deal to its owner. */
async function stakeBack({ contract, own }: Deal, { wallet }: EscrowClient): Promise<Uint8Array> {
  const [stake] = own.stakes
  const outputs = [{ satoshis: stake!.satoshis - 20, script: p2pkh(contract.keys.stake.client) }]
  const draft = { transaction: unsigned([stake!], outputs), spent: draftOf([stake!], outputs).spent }
  const side = { side: 'client' as const, signer: walletSigner(wallet) }
  return serializeTransaction(await signStakes(contract, draft, [0, 1], side))
}

t.test('a client whose stake is undone binds no coins of the relay', async (t) => {
  const { scene, desk } = await furnished(t)
  const { node } = scene.devnet
  const [alice, bob] = [await scene.client('alice'), await scene.client('bob')]
  const before = (await desk.wallet.balance()).confirmed

  const early = await onCoin(scene, alice)
  const inputs = await desk.contracts.open(early.deal.open, alice.caller)
  await node.mine(1, { transactions: [spend(early.coin).bytes] })
  const { draft: _, ...signed } = await alice.signed(early.deal, inputs)
  await t.rejects(desk.contracts.sign(signed, alice.caller), {
    code: 'ERR_TRANSACTION_REFUSED',
    extras: { refusal: 'stake-unproven' },
  })
  t.equal(desk.kept(early.deal.id)?.state.state, 'reserved', 'nothing is signed: the reservation lapses')

  const late = await onCoin(scene, bob)
  const { draft: __, ...half } = await bob.signed(
    late.deal,
    await desk.contracts.open(late.deal.open, bob.caller),
  )
  await desk.contracts.sign(half, bob.caller)
  await node.mine(1)
  await desk.pass()
  await node.reorganize(1, [spend(late.coin).bytes])
  await node.mine(2)
  await desk.pass()
  t.match(desk.kept(late.deal.id)?.state, { state: 'active', depth: 0 }, 'it may come again')
  await scene.passTime(700)
  await desk.pass()
  t.equal(desk.kept(late.deal.id)?.facts.others.length, 1, 'our stake is spent to ourselves')
  for (let blocks = 0; blocks < 7; blocks++) await node.mine(1)
  for (let pass = 0; pass < 2; pass++) await desk.pass()
  t.match(desk.kept(late.deal.id)?.state, { state: 'failed' })
  t.match(desk.contracts.tally.stakes, { used: 0, reserved: 0 })
  const { confirmed, unconfirmed } = await desk.wallet.balance()
  t.ok(confirmed + unconfirmed > before, 'it is an ordinary coin now')
  t.same(await desk.differences(), [])
})

t.test('a funding that is dead when it is sent counts as an opening, and is not sent at will', async (t) => {
  const scene = await openEscrowScene(t)
  let [sent, instead]: [number, Uint8Array | undefined] = [0, undefined]
  const { chain } = scene.devnet
  const broadcast = async (bytes: Uint8Array) => {
    sent++
    const first = instead
    instead = undefined
    if (first !== undefined) await chain.broadcast(first)
    return chain.broadcast(bytes)
  }
  const desk = await scene.desk({
    chain: withMethods(chain, { broadcast }),
    policy: { openingsPerAddress: 1 },
  })
  await furnish(scene, desk)
  const [alice, bob] = [await scene.client('alice'), await scene.client('bob')]
  const deal = await alice.deal()
  const { draft: _, ...signed } = await alice.signed(deal, await desk.contracts.open(deal.open, alice.caller))
  instead = await stakeBack(deal, alice)
  sent = 0
  t.equal(await codeOf(desk.contracts.sign(signed, alice.caller)), 'ERR_TRANSACTION_REFUSED')
  t.equal(desk.contracts.tally.stakes.used, 0, 'not looked at yet')
  scene.clock.now += 121_000
  t.equal(await codeOf(desk.contracts.open((await bob.deal()).open, bob.caller)), 'ERR_LIMIT')
  const counts: Record<string, number> = {}
  for (let asked = 0; asked < 100; asked++) {
    const code = await codeOf(desk.contracts.sign({ ...signed, tx: '00' }, alice.caller))
    counts[code] = (counts[code] ?? 0) + 1
  }
  t.ok((counts.ERR_LIMIT ?? 0) >= 80, JSON.stringify(counts))
  t.ok(sent <= 20, `${sent} broadcasts`)
  await scene.devnet.node.mine(6)
  for (let pass = 0; pass < 2; pass++) await desk.pass()
  t.match(desk.kept(deal.id)?.state, { state: 'failed' })
  t.ok(await desk.contracts.open((await bob.deal()).open, bob.caller), 'once it is over')
})

t.test('whoever asks much waits, nobody else', async (t) => {
  const { scene, desk } = await furnished(t, { policy: { poolSize: 20 } })
  const honest = await scene.client('honest')
  const theirs = await honest.open(desk)
  const rich = await scene.open('rich')
  await scene.fund(rich, [20_000_000])
  const strangers = await strangersOf(
    scene,
    rich,
    Array.from({ length: 17 }, (_, n) => `stranger ${n}`),
  )
  for (const { client, deal } of strangers) await desk.contracts.open(deal.open, client.caller)
  const flood = count(
    strangers.flatMap(({ client, deal }) =>
      Array.from({ length: 64 }, () => desk.contracts.state(deal.id, client.key)),
    ),
  )
  const others = count(
    Array.from({ length: 64 }, () => desk.contracts.state(theirs.id, strangers[0]!.client.key)),
  )
  t.equal(await codeOf(desk.contracts.pay(await honest.payment(theirs, 1, 0), honest.key)), 'ok')
  t.same(await others, { ERR_FORBIDDEN: 64 }, 'what is of another never waits')
  t.match(await flood, { ok: 512 + 9 * 4, ERR_BUSY: 9 * 60 })
})

t.test('only what the store took is in the log, at its pace', async (t) => {
  const { scene, desk, alice, deal } = await openedDeal(t)
  const size = () => statSync(join(scene.directory, 'relay', 'payments.log')).size
  const payment = await alice.payment(deal, 5000, 0)
  const refused = {
    type: 'ContractPaymentRefused' as const,
    contract: deal.id,
    asked: 0,
    audited: 0,
    payment,
  }
  const before = size()
  const refusals = await count(
    Array.from({ length: 60 }, () => desk.contracts.refusePayment(refused, alice.key)),
  )
  t.match(refusals, { ERR_CONFLICT: 32, ERR_LIMIT: 28 })
  t.equal(size(), before, 'no end was asked for')
  await desk.write(alice.wallet, 100_000)
  scene.clock.now += 86_400_000
  const short = await alice.refund(deal, 0)
  const ends = await count(Array.from({ length: 40 }, () => desk.contracts.end(short, alice.key)))
  t.match(ends, { ERR_PAYMENT_REQUIRED: 16, ERR_LIMIT: 24 })
})

t.test('an end that is agreed on pays for the reads that were served meanwhile', async (t) => {
  const { scene, desk, alice, deal } = await openedDeal(t)
  await desk.contracts.pay(await alice.payment(deal, 4990, 0), alice.key)
  const path = await desk.write(alice.wallet, 600_000, { maxPulls: 60 })
  const [isCovered, until] = [desk.contracts.isCovered.bind(desk.contracts), Number.MAX_SAFE_INTEGER]
  const reads = await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      const fields = {
        to: scene.relay.identity,
        timestamp: scene.clock.now + n,
        request: { type: 'read', path },
      }
      const { hash, text } = await seal(fields, scene.relay)
      return { path: parsePath(path), hash, text, until, isCovered }
    }),
  )
  const refund = await alice.refund(deal, 1800)
  let served = 0
  const pulls = reads.map((read) =>
    desk.store.read(read).then(({ outcome }) => void (outcome === 'record' && served++)),
  )
  const code = await codeOf(desk.contracts.end(refund, alice.key))
  await Promise.all(pulls)
  const { owed } = await desk.contracts.state(deal.id, alice.key)
  t.ok(served > 30, `${served} were served`)
  t.ok(code === 'ERR_PAYMENT_REQUIRED' || owed <= 1800, `${code}: ${owed} are owed`)
})
