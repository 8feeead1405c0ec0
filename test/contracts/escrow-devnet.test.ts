/** Escrow contracts on a network: what its nodes take and refuse of every transaction, early and late. */
import t, { type Test } from 'tap'
import { type Contract, contractOf, type End, type State } from '../../contracts/escrow/contract.ts'
import {
  escrowKey,
  escrowKeys,
  payoutRemittance,
  type Side,
  walletSigner,
} from '../../contracts/escrow/keys.ts'
import { rolloverDraft } from '../../contracts/escrow/rollover.ts'
import { expirySequence, expiryScriptCode, unlockByTime } from '../../contracts/escrow/scripts.ts'
import {
  completeState,
  jointUnlocking,
  signJoint,
  signStakes,
  signState,
} from '../../contracts/escrow/signatures.ts'
import { parseTerms, type Terms, termsText } from '../../contracts/escrow/terms.ts'
import {
  expiryTransaction,
  fundingDraft,
  stakeDue,
  type Stake,
  withUnlocking,
} from '../../contracts/escrow/transactions.ts'
import { parseBeef, verifyBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { preimage } from '../../contracts/transaction/sighash.ts'
import {
  type Outpoint,
  serializeTransaction,
  type Transaction,
  txidOf,
} from '../../contracts/transaction/transaction.ts'
import { doubleSha256 } from '../../market/hash.ts'
import { toHex } from '../../market/bytes.ts'
import { type Devnet, openDevnet } from '../fixtures/chain.ts'
import { unlockOwn } from '../fixtures/devnet-coins.ts'
import { beefOf, keysOf, openScene } from '../fixtures/wallet.ts'

const wallets = { client: keysOf('a client'), server: keysOf('a server') }
const signers = { client: walletSigner(wallets.client), server: walletSigner(wallets.server) }
const script = { code: 'ERR_TRANSACTION_REFUSED', extras: { refusal: 'invalid' } }
const nonFinal = { code: 'ERR_TRANSACTION_REFUSED', extras: { refusal: 'non-final' } }
const days = 86_400

function termsAt(seconds: number, changes: Partial<Terms> = {}): Terms {
  const times = { created: seconds, openBy: seconds + 600, expiry: seconds + 30 * days, closeMargin: 21_600 }
  const amounts = { budget: 300_000, depositClient: 10_000, depositServer: 5000, creditLimit: 10_000 }
  const rest = { feeRate: 100, closeFee: 100, period: days, nonce: '01'.repeat(32) }
  const prices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 0 }
  const parties = { client: wallets.client.identity, server: wallets.server.identity }
  return parseTerms({
    v: 1,
    network: 'devnet',
    ...parties,
    ...times,
    ...amounts,
    ...rest,
    prices,
    ...changes,
  })
}

interface Funded {
  readonly contract: Contract
  readonly joint: Outpoint
  send(transaction: Transaction): Promise<string>
}

let nonces = 1
/** A contract whose funding is on a devnet. */
async function fundedOn({ node, chain }: Devnet, changes: Partial<Terms> = {}): Promise<Funded> {
  const nonce = (nonces++).toString(16).padStart(64, '0')
  const terms = termsAt(node.time, { nonce, ...changes })
  const contract = contractOf(terms, await escrowKeys(wallets.client, terms, 'client'))
  const stake = async (side: Side): Promise<Stake> => {
    const script = p2pkh(contract.keys.stake[side])
    const satoshis = stakeDue(contract, side, 1)
    return { txid: await node.pay(script, satoshis), vout: 0, satoshis, script }
  }
  const [client, server] = [await stake('client'), await stake('server')]
  const draft = fundingDraft(contract, { stakes: [client], change: null }, { stakes: [server], change: null })
  const half = await signStakes(contract, draft, [0, 1], { side: 'client', signer: signers.client })
  const both = { ...draft, transaction: half }
  const done = await signStakes(contract, both, [1, 2], { side: 'server', signer: signers.server })
  const send = (transaction: Transaction) => chain.broadcast(serializeTransaction(transaction))
  return { contract, joint: { txid: await send(done), vout: 0 }, send }
}

async function complete({ contract, joint }: Funded, state: State): Promise<Transaction> {
  const client = await signState(contract, joint, state, { side: 'client', signer: signers.client })
  const server = await signState(contract, joint, state, { side: 'server', signer: signers.server })
  return completeState(contract, joint, state, { client, server })
}

/** Mines until median time past is this. */
async function passTime({ node }: Devnet, seconds: number): Promise<void> {
  node.setTime(seconds)
  await node.mine(11)
}

t.test('every state is taken, on a funding that is mined or not, with and without expiry', async (t) => {
  const devnet = await openDevnet(t)
  for (const profile of [{}, { profile: 0 as const }]) {
    for (const kind of ['settled', 'progress'] as const) {
      for (const paid of [0, 100_000, 300_000]) {
        const funded = await fundedOn(devnet, profile)
        if (paid > 0) await devnet.node.mine(1)
        t.ok(await funded.send(await complete(funded, { kind, paid })), `${kind}(${paid})`)
      }
    }
  }
  await devnet.node.mine(1)
  t.equal((await devnet.chain.mempool()).length, 0)
})

t.test('the expiry spend is taken when median time past is beyond its lock, and not before', async (t) => {
  const devnet = await openDevnet(t)
  const funded = await fundedOn(devnet)
  const { contract } = funded
  const refund = expiryTransaction(contract, funded.joint)
  await devnet.node.mine(1)

  await t.rejects(funded.send(refund), nonFinal)
  await passTime(devnet, contract.terms.expiry - 3600)
  await t.rejects(funded.send(refund), nonFinal)
  await t.rejects(devnet.node.mine(1, { transactions: [serializeTransaction(refund)] }), {
    message: /non-?final/i,
  })
  devnet.node.setTime(refund.lockTime + 1)
  while (devnet.node.chain.tip.medianTime <= refund.lockTime) {
    await t.rejects(funded.send(refund), nonFinal)
    await devnet.node.mine(1)
  }

  const txid = await funded.send(refund)
  await devnet.node.mine(1)
  t.equal((await devnet.chain.status(txid)).state, 'mined')
})

t.test('before expiry and after it, nobody has the expiry spend in another shape', async (t) => {
  const devnet = await openDevnet(t)
  const funded = await fundedOn(devnet)
  const { contract, joint } = funded
  const other = await devnet.coin(50_000)
  const good = expiryTransaction(contract, joint)
  await passTime(devnet, contract.terms.expiry + 2 * days)
  /** Signed by everybody's key, with the lock that makes a signature of it. */
  const shaped = (change: (transaction: Transaction) => Transaction): Transaction => {
    for (let tries = 0; ; tries++) {
      const transaction = change({ ...good, lockTime: good.lockTime + tries })
      const proof = preimage(transaction, 0, contract.joint, { scriptCode: expiryScriptCode })
      const first = doubleSha256(proof)[0]!
      if (first === 0 || first > 0x7d) continue
      const unlocked = withUnlocking(transaction, [unlockByTime(proof)])
      return unlocked.inputs.length === 1
        ? unlocked
        : withUnlocking(unlocked, [undefined, unlockOwn(unlocked, 1, other)])
    }
  }
  const outputs = (change: (satoshis: number) => number) => (transaction: Transaction) => ({
    ...transaction,
    outputs: transaction.outputs.map((output, at) =>
      at === 0 ? { ...output, satoshis: change(output.satoshis) } : output,
    ),
  })
  const sequence = (sequence: number) => (transaction: Transaction) => ({
    ...transaction,
    inputs: transaction.inputs.map((input) => ({ ...input, sequence })),
  })
  const wrong: [string, (transaction: Transaction) => Transaction][] = [
    [
      'two inputs',
      (transaction) => ({
        ...transaction,
        inputs: [...transaction.inputs, { ...other, script: new Uint8Array(0), sequence: expirySequence }],
      }),
    ],
    ['less for the client', outputs((satoshis) => satoshis - 1)],
    ['more for the client', outputs((satoshis) => satoshis + 1)],
    ['without the server', (transaction) => ({ ...transaction, outputs: transaction.outputs.slice(0, 1) })],
    ['in another order', (transaction) => ({ ...transaction, outputs: transaction.outputs.toReversed() })],
    ['a final sequence', sequence(0xffffffff)],
    ['an older sequence', sequence(0)],
    ['a lock too early', (transaction) => ({ ...transaction, lockTime: transaction.lockTime - days })],
    [
      'a height as its lock',
      (transaction) => ({ ...transaction, lockTime: transaction.lockTime - contract.terms.expiry }),
    ],
  ]
  for (const [what, change] of wrong) await t.rejects(funded.send(shaped(change)), script, what)
  for (const at of [0, 4, 36, 68, 103, 104, 106, 114, 118, 150, 158]) {
    const changed = Uint8Array.from(good.inputs[0]!.script)
    changed[2 + at]! ^= 1
    await t.rejects(funded.send(withUnlocking(good, [changed])), script, `byte ${at} of the preimage`)
  }
  const later = shaped((transaction) => ({ ...transaction, lockTime: transaction.lockTime + days }))
  t.ok(await funded.send(later), 'a later lock is as good')
})

t.test('only both keys have the money before expiry, in their order', async (t) => {
  const devnet = await openDevnet(t)
  const funded = await fundedOn(devnet)
  const { contract, joint } = funded
  const state: State = { kind: 'settled', paid: 5 }
  const good = await complete(funded, state)
  const [client, server] = await Promise.all(
    (['client', 'server'] as const).map((side) =>
      signState(contract, joint, state, { side, signer: signers[side] }),
    ),
  )
  const unlocked = (script: Uint8Array): Transaction => withUnlocking(good, [script])
  const wrong: [string, Transaction][] = [
    ['one signature', unlocked(jointUnlocking(contract, { client: client! }))],
    ['the client twice', unlocked(jointUnlocking(contract, { client: client!, server: client! }))],
    ['in the other order', unlocked(jointUnlocking(contract, { client: server!, server: client! }))],
    [
      'another amount',
      { ...good, outputs: good.outputs.map((output) => ({ ...output, satoshis: output.satoshis - 1 })) },
    ],
    ['another sequence', { ...good, inputs: good.inputs.map((input) => ({ ...input, sequence: 5 })) }],
  ]
  for (const [what, transaction] of wrong) await t.rejects(funded.send(transaction), script, what)
  t.equal(await funded.send(good), txidOf(good))
  const conflict = { code: 'ERR_TRANSACTION_REFUSED' }
  await t.rejects(funded.send(await complete(funded, { kind: 'settled', paid: 6 })), conflict, 'it is spent')
})

t.test(
  'a rollover ends one contract and funds the next, and can be taken back until it is mined',
  async (t) => {
    const devnet = await openDevnet(t)
    for (const isTaken of [false, true]) {
      const old = await fundedOn(devnet)
      await devnet.node.mine(1)
      const terms = {
        ...old.contract.terms,
        nonce: isTaken ? '03'.repeat(32) : '02'.repeat(32),
        expiry: old.contract.terms.expiry + 30 * days,
      }
      const next = contractOf(terms, await escrowKeys(wallets.server, terms, 'server'))
      const paid = 100_000
      const lock = p2pkh(next.keys.stake.client)
      const satoshis = paid + 63 // as long as no change: 627 bytes at 100 satoshi for 1000
      const stake = { txid: await devnet.node.pay(lock, satoshis), vout: 0, satoshis, script: lock }
      const draft = rolloverDraft(old.contract, next, {
        joint: old.joint,
        paid,
        funding: { stakes: [stake], change: null },
      })
      const half = await signStakes(next, draft, [1, 2], { side: 'client', signer: signers.client })
      const client = await signJoint(old.contract, draft, 'client', signers.client)
      const server = await signJoint(old.contract, draft, 'server', signers.server)
      const rollover = withUnlocking(half, [jointUnlocking(old.contract, { client, server })])
      if (isTaken) {
        const back = {
          transaction: {
            ...rollover,
            inputs: [{ ...rollover.inputs[1]!, script: new Uint8Array(0) }],
            outputs: [{ satoshis: 1000, script: lock }],
          },
          spent: [stake],
        }
        await old.send(await signStakes(next, back, [0, 1], { side: 'client', signer: signers.client }))
        await t.rejects(
          old.send(rollover),
          { code: 'ERR_TRANSACTION_REFUSED' },
          'the client took its stake back',
        )
        t.ok(
          await old.send(await complete(old, { kind: 'settled', paid })),
          'and the old contract is as it was',
        )
        continue
      }
      const joint = { txid: await old.send(rollover), vout: 0 }
      t.ok(await old.send(await complete({ ...old, contract: next, joint }, { kind: 'settled', paid: 7 })))
    }
  },
)

t.test(
  'with a wallet: a stake is paid, proven and put in, and the payout is in the balance',
  async (t: Test) => {
    const scene = await openScene(t)
    const { devnet } = scene
    const wallet = await scene.open('alice')
    await scene.fund(wallet, [400_000])
    const terms = { ...termsAt(devnet.node.time), client: wallet.identity }
    const contract = contractOf(terms, await escrowKeys(wallet, terms, 'client'))
    t.same((await escrowKeys(wallets.server, terms, 'server')).joint, contract.keys.joint)

    const lock = p2pkh(contract.keys.stake.client)
    const satoshis = stakeDue(contract, 'client', 1)
    const outputs = [
      {
        lockingScript: toHex(lock),
        satoshis,
        basket: 'relay escrow stakes',
        outputDescription: 'stake',
        customInstructions: termsText(terms),
      },
    ]
    const options = { randomizeOutputs: false, acceptDelayedBroadcast: false }
    const { tx } = await wallet.createAction({ description: 'stake of a contract', outputs, options })
    const beef = parseBeef(Uint8Array.from(tx!))
    await verifyBeef(beef, devnet.chain)
    const stake = { txid: beef.subject.txid, vout: 0, satoshis, script: lock }
    const due = stakeDue(contract, 'server', 1)
    const own = p2pkh(contract.keys.stake.server)
    const server = { txid: await devnet.node.pay(own, due), vout: 0, satoshis: due, script: own }

    const draft = fundingDraft(
      contract,
      { stakes: [stake], change: null },
      { stakes: [server], change: null },
    )
    const half = await signStakes(contract, draft, [0, 1], { side: 'client', signer: walletSigner(wallet) })
    const done = await signStakes(contract, { ...draft, transaction: half }, [1, 2], {
      side: 'server',
      signer: signers.server,
    })
    const joint = { txid: await devnet.chain.broadcast(serializeTransaction(done)), vout: 0 }
    const end: End = { kind: 'settled', paid: 12_345 }
    const byClient = await signState(contract, joint, end, { side: 'client', signer: walletSigner(wallet) })
    const byServer = await signState(contract, joint, end, { side: 'server', signer: signers.server })
    const closing = await completeState(contract, joint, end, { client: byClient, server: byServer })
    const txid = await devnet.chain.broadcast(serializeTransaction(closing))
    await devnet.node.mine(1)
    const before = (await wallet.balance()).confirmed
    const paymentRemittance = payoutRemittance(terms, 'client')
    const output = { outputIndex: 0, protocol: 'wallet payment' as const, paymentRemittance }
    await wallet.internalizeAction({
      tx: await beefOf(devnet.chain, txid),
      outputs: [output],
      description: 'payout',
    })

    t.equal((await wallet.balance()).confirmed - before, 300_000 - 12_345 + 10_000)
    t.equal(escrowKey(terms, 'joint', 'client').counterparty, terms.server)
  },
)
