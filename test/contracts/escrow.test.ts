/** Escrow contracts as bytes: terms, keys, scripts, every transaction and what each side refuses of the other. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  escrowKey,
  escrowKeys,
  payoutRemittance,
  type Side,
  sides,
  walletSigner,
} from '../../contracts/escrow/keys.ts'
import {
  type Contract,
  contractOf,
  type End,
  endOf,
  outputsOf,
  shareOf,
  type State,
} from '../../contracts/escrow/contract.ts'
import {
  checkClientSigned,
  checkOpening,
  checkPayment,
  checkRollover,
  checkSeen,
  checkServerInputs,
} from '../../contracts/escrow/checks.ts'
import { rolloverDraft } from '../../contracts/escrow/rollover.ts'
import { unlockByTime } from '../../contracts/escrow/scripts.ts'
import {
  checkStateSignature,
  checkUnlocking,
  completeState,
  halfSigned,
  jointUnlocking,
  readHalfSigned,
  signJoint,
  signStakes,
  signState,
} from '../../contracts/escrow/signatures.ts'
import { contractIdOf, parseTerms, type Terms, termsText } from '../../contracts/escrow/terms.ts'
import {
  expiryTransaction,
  fundingDraft,
  type Funding,
  openingDraft,
  stakeDue,
  stateDraft,
  unsigned,
  withUnlocking,
} from '../../contracts/escrow/transactions.ts'
import * as messages from '../../contracts/escrow/messages.ts'
import type { Refusal } from '../../contracts/escrow/refusal.ts'
import { refusals } from '../../contracts/escrow/refusal.ts'
import type { Beef } from '../../contracts/transaction/beef.ts'
import { p2pkh, unlockP2pkh } from '../../contracts/transaction/script.ts'
import { sighash } from '../../contracts/transaction/sighash.ts'
import { checkScripts, feeOf } from '../../contracts/transaction/spend.ts'
import {
  parseTransaction,
  serializeTransaction,
  type Transaction,
  txidOf,
} from '../../contracts/transaction/transaction.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat, fromHex, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { withHighS } from '../fixtures/devnet-coins.ts'
import { payee } from '../fixtures/transactions.ts'

const vectors = JSON.parse(readFileSync('test/fixtures/vectors/escrow.json', 'utf8'))
const walletOf = (key: number) => new KeyWallet(fromHex(key.toString(16).padStart(64, '0')))
const wallets: Record<Side, KeyWallet> = {
  client: walletOf(vectors.privateKeys.client),
  server: walletOf(vectors.privateKeys.server),
}
const signers = { client: walletSigner(wallets.client), server: walletSigner(wallets.server) }
const terms: Terms = JSON.parse(vectors.canonicalTerms)
const contractFor = async (changes: Partial<Terms> = {}, side: Side = 'client'): Promise<Contract> => {
  const changed = { ...terms, ...changes }
  return contractOf(changed, await escrowKeys(wallets[side], changed, side))
}
const contract = await contractFor()
const bare = await contractFor({ profile: 0 })
const joint = vectors.outpoint
const refusal = (name: Refusal) => ({ code: refusals[name], extras: { refusal: name } })
const hex = (transaction: Transaction) => toHex(serializeTransaction(transaction))

t.test('terms: the canonical text and the id of the vectors', async (t) => {
  t.same(parseTerms(terms), terms)
  t.equal(termsText(terms), vectors.canonicalTerms)
  t.equal(contractIdOf(terms), vectors.contractId)
  t.not(contractIdOf({ ...terms, profile: 0 }), vectors.contractId)
})

t.test('terms: each rule has a refusal', async (t) => {
  const table: [Refusal, Record<string, unknown>][] = [
    ['form', { v: 2 }],
    ['form', { more: 1 }],
    ['form', { profile: 1 }],
    ['form', { network: 'other' }],
    ['form', { budget: 1.5 }],
    ['form', { depositServer: -1 }],
    ['form', { nonce: terms.nonce.toUpperCase() }],
    ['form', { prices: { ...terms.prices, more: 1 } }],
    ['form', { period: 0 }],
    ['form', { expiry: 2 ** 32 }],
    ['same-party', { server: terms.client }],
    // Heights, and numbers that the script reads as negative: the refund would be open at once.
    ['expiry-range', { expiry: 4294967286 }],
    ['expiry-range', { expiry: 2147483653 }],
    ['expiry-range', { expiry: 2147483648 }],
    ['expiry-range', { expiry: 499999999 }],
    ['close-margin', { closeMargin: 14399 }],
    ['open-by', { openBy: terms.created }],
    ['open-by', { openBy: terms.expiry - terms.closeMargin }],
    ['too-long', { expiry: terms.created + 366 * 86400 + 1 }],
    ['too-much', { budget: 0, creditLimit: 0 }],
    ['too-much', { budget: 2 ** 51 }],
    ['credit-limit', { creditLimit: terms.budget + 1, depositClient: terms.budget + 1 }],
    ['client-deposit', { depositClient: terms.creditLimit - 1 }],
    ['server-deposit', { depositServer: 5001 }],
    ['close-fee', { closeFee: 33 }],
  ]
  for (const [name, changes] of table)
    t.throws(() => parseTerms({ ...terms, ...changes }), refusal(name), JSON.stringify(changes))

  t.ok(parseTerms({ ...terms, expiry: terms.created + 366 * 86400, closeFee: 34, profile: 0 }))
  const late = { created: 2147483647 - 86400, openBy: 2147483647 - 86300, expiry: 2147483647 }
  t.ok(parseTerms({ ...terms, ...late }), 'the last expiry there is')
})

t.test('keys: both sides derive the keys, payout scripts and remittances of the vectors', async (t) => {
  for (const side of sides) {
    const { keys } = await contractFor({}, side)
    t.same(keys, contract.keys)
    t.equal(toHex(keys.joint[side]), vectors.keys[side])
    t.equal(toHex(p2pkh(keys.payout[side])), vectors.payoutScripts[side])
    const { senderIdentityKey, ...names } = payoutRemittance(terms, side)
    t.same(names, vectors.remittance[side])
    t.equal(senderIdentityKey, terms[side === 'client' ? 'server' : 'client'])
    t.equal(escrowKey(terms, 'stake', side).keyID, `stake ${vectors.contractId}`)
  }
})

t.test('scripts: the joint output of the vectors, and the bare one', async (t) => {
  t.equal(contract.joint.satoshis, vectors.jointSatoshis)
  t.equal(toHex(contract.joint.script), vectors.jointScript)
  t.equal(contract.joint.script.length, 237)
  t.equal(bare.joint.script.length, 71)
  t.throws(
    () =>
      contractOf(terms, {
        ...contract.keys,
        joint: { client: contract.keys.joint.client, server: contract.keys.joint.client },
      }),
    refusal('same-party'),
  )
})

t.test('states: digests, signatures and transactions of the vectors', async (t) => {
  for (const { kind, paid, sighash: digest, sigs, tx } of vectors.states) {
    const state: State = { kind, paid }
    const { transaction } = stateDraft(contract, joint, state)

    const client = await signState(contract, joint, state, { side: 'client', signer: signers.client })
    const server = await signState(contract, joint, state, { side: 'server', signer: signers.server })

    t.equal(toHex(sighash(transaction, 0, contract.joint)), digest)
    t.same([toHex(client), toHex(server)], [sigs.client, sigs.server])
    t.equal(hex(await completeState(contract, joint, state, { client, server })), tx)
    t.equal(feeOf(transaction, [contract.joint]), terms.closeFee)
  }
})

t.test('expiry: the transaction of the vectors, whose script holds before anybody signs', async (t) => {
  const transaction = expiryTransaction(contract, joint)

  t.equal(transaction.lockTime, vectors.expiry.lockTime)
  t.equal(hex(transaction), vectors.expiry.tx)
  t.equal(txidOf(transaction), vectors.expiry.txid)
  await checkScripts(transaction, [contract.joint])
  t.throws(() => expiryTransaction(bare, joint), refusal('expiry-range'))
})

t.test('expiry: for any outpoint a lock is found within a few seconds, and it spends', async (t) => {
  let most = 0
  for (let vout = 0; vout < 60; vout++) {
    const transaction = expiryTransaction(contract, { ...joint, vout })
    most = Math.max(most, transaction.lockTime - terms.expiry)
    await checkScripts(transaction, [contract.joint])
  }
  t.ok(most > 0 && most < 60, `${most} seconds`)
})

t.test('expiry: no bit of the preimage may differ', async (t) => {
  const transaction = expiryTransaction(contract, joint)
  const preimage = transaction.inputs[0]!.script.subarray(2, 161)
  t.equal(hex(withUnlocking(transaction, [unlockByTime(preimage)])), hex(transaction))
  for (let at = 0; at < preimage.length; at++) {
    const changed = Uint8Array.from(preimage)
    changed[at]! ^= 1 << (at % 8)
    const spend = withUnlocking(transaction, [unlockByTime(changed)])
    await t.rejects(checkScripts(spend, [contract.joint]), { code: 'ERR_TRANSACTION_REFUSED' }, `byte ${at}`)
  }
})

t.test('what one side has of each end, and the sum of all is what was put in', async (t) => {
  const table: [End, number, number, number][] = [
    [{ kind: 'settled', paid: 0 }, 310_000, 5000, 0],
    [{ kind: 'settled', paid: 300_000 }, 10_000, 305_000, 0],
    [{ kind: 'progress', paid: 0 }, 300_000, 0, 15_000],
    [{ kind: 'progress', paid: 300_000 }, 0, 300_000, 15_000],
    [{ kind: 'expiry' }, 310_000, 5000, 0],
  ]
  for (const [end, client, server, burned] of table) {
    t.same([shareOf(contract, end, 'client'), shareOf(contract, end, 'server')], [client, server])
    const outputs = outputsOf(contract, end)
    t.equal(outputs.filter(({ satoshis }) => satoshis === 0).length, 0)
    const sum = outputs.reduce((sum, { satoshis }) => sum + satoshis, 0)
    t.same([sum - client - server, sum + terms.closeFee], [burned, vectors.jointSatoshis])
  }
  for (const paid of [-1, 0.5, 300_001, Number.NaN])
    t.throws(() => outputsOf(contract, { kind: 'settled', paid }), refusal('paid'))
})

/** Stakes as somebody paid them, all in one transaction, and the BEEF that shows it. */
function stakesOf(script: Uint8Array, amounts: readonly number[], name = 'parent', version = 1) {
  const outputs = amounts.map((satoshis) => ({ satoshis, script }))
  const transaction = { ...unsigned([{ txid: toHex(sha256(name)), vout: 0 }], outputs), version }
  const txid = txidOf(transaction)
  const subject = { txid, transaction }
  const beef: Beef = { members: new Map([[txid, subject]]), subject }
  return { stakes: outputs.map((output, vout) => ({ txid, vout, ...output })), beef }
}

const relayStake = payee('a stake of the relay')
/** An opening of both sides, up to the point where the client is to sign. */
function openingOf(contract: Contract, change = 0) {
  const own = stakesOf(p2pkh(contract.keys.stake.client), [
    stakeDue(contract, 'client', 1, change > 0) + change,
  ])
  const theirs = stakesOf(relayStake.script, [stakeDue(contract, 'server', 1)], 'of the relay')
  const client: Funding = { stakes: own.stakes, change: change > 0 ? payee('change').script : null }
  const server: Funding = { stakes: theirs.stakes, change: null }
  return { client, server, beef: own.beef, draft: fundingDraft(contract, client, server) }
}
const now = terms.created + 10
const bytesOf = (transaction: Transaction): Uint8Array => serializeTransaction(transaction)
const mapInputs = (
  transaction: Transaction,
  changes: Partial<Transaction['inputs'][number]>,
): Transaction => ({
  ...transaction,
  inputs: transaction.inputs.map((input) => ({ ...input, ...changes })),
})
/** Ways to change a transaction a little. */
const meddled = (transaction: Transaction): [string, Uint8Array][] => [
  ['trailing byte', concat(bytesOf(transaction), Uint8Array.of(0))],
  ['not a transaction', bytesOf(transaction).subarray(0, -1)],
  ['version', bytesOf({ ...transaction, version: 2 })],
  ['lock', bytesOf({ ...transaction, lockTime: 1 })],
  ['sequence', bytesOf(mapInputs(transaction, { sequence: 0xfffffffe }))],
  ['outpoint', bytesOf(mapInputs(transaction, { vout: 7 }))],
  ['one input more', bytesOf({ ...transaction, inputs: [...transaction.inputs, ...transaction.inputs] })],
  [
    'one output less',
    bytesOf({
      ...transaction,
      outputs: [...transaction.outputs.slice(1), { satoshis: 1, script: new Uint8Array(0) }],
    }),
  ],
  [
    'amount',
    bytesOf({
      ...transaction,
      outputs: transaction.outputs.map((output, at) =>
        at === 0 ? { ...output, satoshis: output.satoshis - 1 } : output,
      ),
    }),
  ],
]

t.test('opening: both fund, sign and hold a joint output', async (t) => {
  for (const [party, change] of [
    [contract, 0],
    [contract, 5000],
    [bare, 0],
  ] as const) {
    const { client, server, beef, draft } = openingOf(party, change)
    const opening = {
      from: terms.client,
      userPubkey: terms.client,
      funding: client,
      beef,
      tx: bytesOf(openingDraft(party, client).transaction),
    }

    checkOpening(party, opening, { server: terms.server, network: 'regtest', now })
    const agreed = checkServerInputs(party, client, { tx: bytesOf(draft.transaction), funding: server }, now)
    const byClient = await signStakes(party, agreed, [0, 1], { side: 'client', signer: signers.client })
    const seen = checkClientSigned(party, draft, bytesOf(byClient), { stakes: 1, now })
    const done = signWith(seen, 1, draft.spent[1]!)

    await checkScripts(done, draft.spent)
    t.same(checkSeen(draft, bytesOf(done)), { txid: txidOf(done), vout: 0 })
    t.same(done.outputs[0], party.joint)
    const size = bytesOf(done).length
    const rest = feeOf(done, draft.spent) - Math.ceil(size / 10)
    t.ok(rest >= 0 && rest <= 2, `the fee of ${size} bytes is paid`)
    if (party === contract && change === 0) t.ok(size >= 549 && size <= 552)
  }
})

function signWith(transaction: Transaction, index: number, spent: Contract['joint']): Transaction {
  const signature = concat(relayStake.sign(sighash(transaction, index, spent)), Uint8Array.of(0x41))
  const scripts: Uint8Array[] = []
  scripts[index] = unlockP2pkh(signature, relayStake.publicKey)
  return withUnlocking(transaction, scripts)
}

t.test('contractOpen: what the server refuses', async (t) => {
  const { client, beef } = openingOf(contract)
  const tx = bytesOf(openingDraft(contract, client).transaction)
  const good = { from: terms.client, userPubkey: terms.client, funding: client, beef, tx }
  const asked = { server: terms.server, network: 'regtest', now } as const
  const check = (
    changes: Partial<typeof good>,
    other: Partial<{ now: number; network: any; server: string }> = {},
  ) => checkOpening(contract, { ...good, ...changes }, { ...asked, ...other })
  const stake = client.stakes[0]!
  const foreign = stakesOf(relayStake.script, [stake.satoshis])
  const v2 = stakesOf(stake.script, [stake.satoshis], 'of version 2', 2)
  const withStakes = (stakes: Funding['stakes'], change: Uint8Array | null = null) => ({
    funding: { stakes, change },
  })

  check({})
  check({}, { now: terms.openBy })
  t.throws(() => check({ from: terms.server }), refusal('wrong-party'))
  t.throws(() => check({ userPubkey: terms.server }), refusal('wrong-party'))
  t.throws(() => check({}, { server: terms.client }), refusal('wrong-party'))
  t.throws(() => check({}, { network: 'main' }), refusal('wrong-network'))
  t.throws(() => check({}, { now: terms.openBy + 1 }), refusal('too-late'))
  t.throws(() => check({ ...withStakes(foreign.stakes), beef: foreign.beef }), refusal('stake-key'))
  t.throws(() => check({ beef: foreign.beef }), refusal('stake-unproven'))
  t.throws(() => check(withStakes([{ ...stake, satoshis: stake.satoshis + 1 }])), refusal('stake-unproven'))
  t.throws(() => check({ ...withStakes(v2.stakes), beef: v2.beef }), refusal('stake-unproven'))
  t.throws(() => check(withStakes([])), refusal('too-many-stakes'))
  t.throws(() => check(withStakes([stake, stake], stake.script)), refusal('stake-repeated'))
  t.throws(() => check(withStakes([stake], stake.script)), refusal('balance'))
  t.throws(() => check(withStakes([stake], new Uint8Array(1))), refusal('change-script'))
  for (const [what, tx] of meddled(openingDraft(contract, client).transaction))
    t.throws(() => check({ tx }), refusal('differs'), what)
})

t.test('ContractServerAddInputs: what the client refuses', async (t) => {
  const { client, server, draft } = openingOf(contract)
  const tx = bytesOf(draft.transaction)
  const check = (changes: { tx?: Uint8Array; funding?: Funding }, at = now) =>
    checkServerInputs(contract, client, { tx, funding: server, ...changes }, at)
  const stake = server.stakes[0]!
  const withStake = (changes: object) => ({ funding: { ...server, stakes: [{ ...stake, ...changes }] } })

  t.same(check({}), draft)
  t.throws(() => check({}, terms.openBy + 1), refusal('too-late'))
  t.throws(
    () => check(withStake({ satoshis: stake.satoshis - 1 })),
    refusal('balance'),
    'we would pay its part',
  )
  t.throws(() => check(withStake({ satoshis: 0 })), refusal('stake-amount'))
  t.throws(() => check(withStake({ satoshis: 0.5 })), refusal('stake-amount'))
  t.throws(() => check(withStake({ script: contract.joint.script })), refusal('stake-script'))
  t.throws(() => check(withStake(client.stakes[0]!)), refusal('balance'))
  const ours = { ...client.stakes[0]!, satoshis: stake.satoshis }
  t.throws(() => check(withStake(ours)), refusal('stake-repeated'), 'it names what we put in')
  t.throws(() => check(withStake({ ...ours, vout: 5 })), refusal('stake-repeated'), 'it names what is ours')
  t.throws(() => check({ funding: { stakes: [], change: null } }), refusal('too-many-stakes'))
  const many = Array.from({ length: 101 }, (_, vout) => ({ ...stake, vout }))
  t.throws(() => check({ funding: { stakes: many, change: null } }), refusal('too-many-stakes'))
  const swapped = { ...draft.transaction, inputs: draft.transaction.inputs.toReversed() }
  t.throws(() => check({ tx: bytesOf(swapped) }), refusal('differs'), 'inputs in another order')
  t.throws(() => check({ tx: bytesOf(signWith(draft.transaction, 1, draft.spent[1]!)) }), refusal('differs'))
  for (const [what, tx] of meddled(draft.transaction)) t.throws(() => check({ tx }), refusal('differs'), what)
})

t.test('ContractClientSigned: what the server refuses', async (t) => {
  const { draft } = openingOf(contract)
  const party = { side: 'client', signer: signers.client } as const
  const signed = await signStakes(contract, draft, [0, 1], party)
  const check = (transaction: Transaction, at = now) =>
    checkClientSigned(contract, draft, bytesOf(transaction), { stakes: 1, now: at })
  const { script } = signed.inputs[0]!
  const length = script[0]!
  const key = script.subarray(length + 2)
  const der = script.subarray(1, length)
  const scripted = (...parts: Uint8Array[]) => withUnlocking(signed, [concat(...parts)])
  const typed = (type: number) => scripted(unlockP2pkh(concat(der, Uint8Array.of(type)), key))

  t.same(check(signed), signed)
  t.throws(() => check(signed, terms.openBy + 1), refusal('too-late'))
  t.throws(() => check(draft.transaction), refusal('unlocking'))
  t.throws(() => check(scripted(script, Uint8Array.of(0x61))), refusal('unlocking'))
  t.throws(
    () => check(scripted(Uint8Array.of(0x4c), script)),
    refusal('unlocking'),
    'a push that is too long',
  )
  for (const type of [0x01, 0x40, 0x42, 0x43, 0x61, 0xc1, 0xc3])
    t.throws(() => check(typed(type)), refusal('sighash-type'), `type ${type}`)
  const high = withHighS(concat(der, Uint8Array.of(0x41)))
  t.throws(() => check(scripted(unlockP2pkh(high, key))), refusal('signature'), 'high S')
  const other = payee('somebody')
  const foreign = concat(other.sign(sighash(draft.transaction, 0, draft.spent[0]!)), Uint8Array.of(0x41))
  t.throws(() => check(scripted(unlockP2pkh(foreign, other.publicKey))), refusal('signature'))
  t.throws(() => check(scripted(unlockP2pkh(foreign, key))), refusal('signature'))
  t.throws(
    () => check(signWith(signed, 1, draft.spent[1]!)),
    refusal('differs'),
    'inputs that are ours to sign',
  )
  for (const [what, tx] of meddled(signed))
    t.throws(
      () => checkClientSigned(contract, draft, tx, { stakes: 1, now }),
      { code: 'ERR_TRANSACTION_REFUSED' },
      what,
    )
})

t.test('a funding is known by what was signed, whatever its txid', async (t) => {
  const { draft } = openingOf(contract)
  const signed = await signStakes(contract, draft, [0, 1], { side: 'client', signer: signers.client })
  const malleated = mapInputs(signed, { script: Uint8Array.of(1, 1, 1) })
  const seen = checkSeen(draft, bytesOf(malleated))

  t.equal(seen.txid, txidOf(malleated))
  t.not(seen.txid, txidOf(signed))
  for (const [what, tx] of meddled(signed)) t.throws(() => checkSeen(draft, tx), refusal('differs'), what)
})

t.test('ContractPayment: amounts only grow, and both signatures are of the client', async (t) => {
  const sign = async (kind: State['kind'], paid: number, side: Side = 'client', party = contract) =>
    signState(party, joint, { kind, paid }, { side, signer: signers[side] })
  const good = {
    paid: 500,
    settled: 300,
    sig: await sign('progress', 500),
    settledSig: await sign('settled', 300),
  }
  const last = { paid: 500, settled: 300 }
  const check = (changes: object, before = last) =>
    checkPayment(contract, joint, { ...good, ...changes }, before)

  check({})
  t.throws(() => check({}, { ...last, paid: 501 }), refusal('paid'))
  t.throws(() => check({}, { ...last, settled: 301 }), refusal('settled'))
  t.throws(() => check({ settled: 501 }), refusal('settled'))
  t.throws(() => check({ paid: 300_001 }), refusal('paid'))
  t.throws(() => check({ paid: 500.5 }), refusal('paid'))
  t.throws(() => check({ paid: 501 }), refusal('signature'), 'of another amount')
  t.throws(() => check({ sig: good.settledSig }), refusal('signature'), 'of another kind')
  t.throws(() => check({ settledSig: good.sig }), refusal('signature'))
  const ours = await sign('progress', 500, 'server')
  t.throws(() => check({ sig: ours }), refusal('signature'), 'of the other key')
  t.throws(
    () => check({ sig: concat(good.sig, Uint8Array.of(0x41)) }),
    refusal('signature'),
    'bytes left over',
  )
  const high = withHighS(concat(good.sig, Uint8Array.of(0x41))).subarray(0, -1)
  t.throws(() => check({ sig: high }), refusal('signature'), 'high S')
  const elsewhere = await sign('progress', 500, 'client', await contractFor({ budget: 299_999 }))
  t.throws(() => check({ sig: elsewhere }), refusal('signature'), 'of another contract')
  t.throws(
    () => checkPayment(contract, { ...joint, vout: 1 }, good, last),
    refusal('signature'),
    'of another joint output',
  )
})

t.test('half-signed states: either side completes what the other signed, and nothing else', async (t) => {
  for (const party of [contract, bare]) {
    for (const side of sides) {
      const other = side === 'client' ? 'server' : 'client'
      const state: State = { kind: 'settled', paid: 1234 }
      const der = await signState(party, joint, state, { side, signer: signers[side] })
      const half = halfSigned(party, joint, state, { [side]: der })

      t.equal(toHex(readHalfSigned(party, joint, state, { side, bytes: bytesOf(half) })), toHex(der))
      const own = await signState(party, joint, state, { side: other, signer: signers[other] })
      const both = side === 'client' ? { client: der, server: own } : { client: own, server: der }
      t.ok(await completeState(party, joint, state, both))

      const read = (bytes: Uint8Array, as: Side = side) =>
        readHalfSigned(party, joint, state, { side: as, bytes })
      t.throws(
        () => read(bytesOf(half), other),
        { code: 'ERR_TRANSACTION_REFUSED' },
        'in the slot of the other',
      )
      t.throws(
        () => readHalfSigned(party, joint, { ...state, paid: 1235 }, { side, bytes: bytesOf(half) }),
        refusal('differs'),
      )
      t.throws(() => read(bytesOf(stateDraft(party, joint, state).transaction)), refusal('unlocking'))
      const unlocking = half.inputs[0]!.script
      const at = unlocking.lastIndexOf(0x41)
      const typed = Uint8Array.from(unlocking)
      typed[at] = 0x61
      t.throws(
        () => read(bytesOf(withUnlocking(half, [typed]))),
        refusal('sighash-type'),
        'without the amount',
      )
      const foreign = jointUnlocking(party, { [side]: own })
      t.throws(() => read(bytesOf(withUnlocking(half, [foreign]))), refusal('signature'))
      for (const [what, tx] of meddled(half))
        t.throws(() => read(tx), { code: 'ERR_TRANSACTION_REFUSED' }, what)
      await t.rejects(completeState(party, joint, state, { client: der, server: der }), refusal('signature'))
      const wrong = { side: other, der } as const
      t.throws(() => checkStateSignature(party, joint, state, wrong), refusal('signature'))
    }
  }
})

t.test('rollover: the server has its due, the client the rest, and both inputs are checked', async (t) => {
  const next = await contractFor({
    nonce: '22'.repeat(32),
    created: terms.created + 1_000_000,
    openBy: terms.openBy + 1_000_000,
    expiry: terms.expiry + 2_000_000,
  })
  const paid = 100_000
  for (const change of [null, payee('change').script]) {
    const at = next.terms.created
    const size = 4 + 1 + 189 + 148 + 1 + 246 + 34 + (change ? 34 : 0) + 4
    const due = paid + Math.ceil(size / 10) + (change ? 4321 : 0)
    const { stakes, beef } = stakesOf(p2pkh(next.keys.stake.client), [due])
    const renewal = { joint, paid, funding: { stakes, change } }
    const draft = rolloverDraft(contract, next, renewal)
    const withStakes = await signStakes(next, draft, [1, 2], { side: 'client', signer: signers.client })
    const client = await signJoint(contract, draft, 'client', signers.client)
    const half = withUnlocking(withStakes, [jointUnlocking(contract, { client })])
    const offer = { ...renewal, beef, tx: bytesOf(half) }

    const checked = checkRollover(contract, next, offer, at)
    const server = await signJoint(contract, draft, 'server', signers.server)
    const done = withUnlocking(checked.transaction, [
      jointUnlocking(contract, { client: checked.clientSignature, server }),
    ])

    await checkUnlocking(done, draft.spent)
    t.equal(done.outputs[1]!.satoshis, paid)
    t.same(
      done.outputs.map(({ satoshis }) => satoshis),
      [315_060, paid, ...(change ? [4321] : [])],
    )
    t.ok(bytesOf(done).length <= size && bytesOf(done).length > size - 8)
    const check = (changes: object, moment = at) =>
      checkRollover(contract, next, { ...offer, ...changes }, moment)
    t.throws(() => check({}, next.terms.openBy + 1), refusal('too-late'))
    t.throws(() => check({ paid: paid - 1 }), { code: 'ERR_TRANSACTION_REFUSED' })
    t.throws(() => check({ funding: { stakes: [], change } }), refusal('too-many-stakes'))
    t.throws(() => check({ tx: bytesOf(withStakes) }), refusal('unlocking'))
    const unsignedStake = withUnlocking(draft.transaction, [jointUnlocking(contract, { client })])
    t.throws(() => check({ tx: bytesOf(unsignedStake) }), refusal('unlocking'))
    const byServer = withUnlocking(withStakes, [jointUnlocking(contract, { client: server })])
    t.throws(() => check({ tx: bytesOf(byServer) }), refusal('signature'))
    for (const [what, tx] of meddled(half))
      t.throws(() => check({ tx }), { code: 'ERR_TRANSACTION_REFUSED' }, what)
    const old = stakesOf(p2pkh(contract.keys.stake.client), [due])
    t.throws(() => check({ funding: { stakes: old.stakes, change }, beef: old.beef }), refusal('stake-key'))
  }
  const stake = stakesOf(p2pkh(next.keys.stake.client), [1000]).stakes
  const funding = { stakes: stake, change: null }
  const dear = await contractFor({ ...next.terms, depositClient: 20_000, depositServer: 6000 })
  t.throws(() => rolloverDraft(contract, dear, { joint, paid: 999, funding }), refusal('server-deposit'))
  const elsewhere = await contractFor({ ...next.terms, network: 'test' })
  t.throws(() => rolloverDraft(contract, elsewhere, { joint, paid, funding }), refusal('wrong-network'))
  const exchanged = { ...next, terms: { ...next.terms, client: terms.server, server: terms.client } }
  t.throws(() => rolloverDraft(contract, exchanged, { joint, paid, funding }), refusal('wrong-party'))
})

t.test('a spend of the joint output is known by its outputs', async (t) => {
  const ends: End[] = [
    ...[0, 1, 5000, 300_000].map((paid) => ({ kind: 'settled', paid }) as const),
    ...[0, 1, 5000, 300_000].map((paid) => ({ kind: 'progress', paid }) as const),
  ]
  for (const end of ends)
    if (end.kind !== 'expiry') t.same(endOf(contract, stateDraft(contract, joint, end).transaction), end)
  t.same(endOf(contract, expiryTransaction(contract, joint)), { kind: 'expiry' })
  const other = unsigned([joint], [{ satoshis: 1, script: contract.joint.script }])
  t.equal(endOf(contract, other), undefined)
  for (const expiry of [4294967286, 2147483653, 499999999])
    t.throws(
      () => contractOf({ ...terms, expiry }, contract.keys),
      refusal('expiry-range'),
      'no script is made',
    )
})

t.test('messages: schemas take what the functions make, and no other fields', async (t) => {
  const { client, draft } = openingOf(contract)
  const funding = messages.writeFunding(client)
  t.same(messages.readFunding(funding), client)
  const tx = hex(draft.transaction)
  const open = { type: 'contractOpen', userPubkey: terms.client, terms, tx, funding, beef: 'AAAA' }
  t.ok(messages.ContractOpen.safeParse(open).success)
  t.notOk(messages.ContractOpen.safeParse({ ...open, more: 1 }).success)
  t.notOk(messages.ContractOpen.safeParse({ ...open, tx: '0' }).success)
  const { sigs } = vectors.states[0]
  const payment = {
    type: 'ContractPayment',
    contract: vectors.contractId,
    paid: 9000,
    sig: sigs.client,
    settled: 9000,
    settledSig: vectors.states[1].sigs.client,
  }
  t.ok(messages.ContractPayment.safeParse(payment).success)
  t.equal(JSON.stringify(payment).length < 440, true)
  const refused = {
    type: 'ContractPaymentRefused',
    contract: vectors.contractId,
    asked: 9001,
    audited: 9000,
    payment,
  }
  t.ok(messages.ContractPaymentRefused.safeParse(refused).success)
  t.same(parseTransaction(fromHex(tx)), draft.transaction)
})
