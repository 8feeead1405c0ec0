import * as sdk from '@bsv/sdk'
import t from 'tap'
import { makeBeef } from '../../contracts/transaction/beef.ts'
import { parseTransaction, type Transaction, txidOf } from '../../contracts/transaction/transaction.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { toHex } from '../../market/bytes.ts'
import {
  beefOf,
  bill,
  memberOf,
  openScene,
  paymentScript,
  type Scene,
  withMethods,
} from '../fixtures/wallet.ts'
import { MarketError } from '../../market/errors.ts'

const names = { derivationPrefix: 'cHJlZml4', derivationSuffix: 'c3VmZml4' }

/** A payment from one wallet to another, made but kept from the network. */
async function unsent(from: EmbeddedWallet, to: EmbeddedWallet, satoshis: number) {
  const lockingScript = toHex(await paymentScript(from, names, to.identity))
  const { txid, tx } = await from.createAction({
    description: 'pay a friend',
    outputs: [{ lockingScript, satoshis, outputDescription: 'payment' }],
    options: { noSend: true, randomizeOutputs: false },
  })
  const output: sdk.InternalizeOutput = {
    outputIndex: 0,
    protocol: 'wallet payment',
    paymentRemittance: { ...names, senderIdentityKey: from.identity },
  }
  return { txid: txid!, tx: tx!, outputs: [output], description: 'from a friend' }
}

async function pair(scene: Scene): Promise<[alice: EmbeddedWallet, bob: EmbeddedWallet]> {
  const [alice, bob] = [await scene.open('alice'), await scene.open('bob')]
  await scene.fund(alice, [50_000])
  return [alice, bob]
}

t.test(
  'a payment is sent to the network, then credited, once however often and at once it comes',
  async (t) => {
    const scene = await openScene(t)
    const [alice, bob] = await pair(scene)
    const { txid, ...args } = await unsent(alice, bob, 7000)

    const results = await Promise.all(Array.from({ length: 8 }, () => bob.internalizeAction(args)))
    t.same(
      results,
      Array.from({ length: 8 }, () => ({ accepted: true })),
    )
    t.same(await bob.internalizeAction(args), { accepted: true })

    t.equal((await scene.devnet.chain.status(txid)).state, 'mempool')
    t.same(await bob.balance(), { confirmed: 0, unconfirmed: 7000, reserved: 0 })
    t.match(await bob.listActions({ labels: [] }), {
      totalActions: 1,
      actions: [{ txid, satoshis: 7000, isOutgoing: false }],
    })

    await scene.devnet.node.mine(1)
    await bob.store.close()
    const again = await scene.open('bob')
    await again.internalizeAction({ ...args, tx: await beefOf(scene.devnet.chain, txid) })
    t.equal((await again.balance()).unconfirmed + (await again.balance()).confirmed, 7000)
    const { txid: spent } = await again.payTo({ identity: alice.identity, satoshis: 6000 })
    t.equal((await scene.devnet.chain.status(spent)).state, 'mempool', 'the credited coin can be spent')
  },
)

t.test('unconfirmed ancestors that the network has not heard of are sent first', async (t) => {
  const scene = await openScene(t)
  const [alice, bob] = await pair(scene)
  const carol = await scene.open('carol')
  const first = await unsent(alice, bob, 20_000)
  // Bob holds the first payment already, from a network that forgot it since.
  const forgetful = await scene.open('bob', {
    folder: 'bob offline',
    chain: withMethods(scene.devnet.chain, { broadcast: async (bytes) => txidOf(bytes) }),
  })
  const { txid: parent, ...args } = first
  await forgetful.internalizeAction(args)
  const { txid, ...second } = await unsent(forgetful, carol, 5000)
  t.equal((await scene.devnet.chain.status(parent)).state, 'unknown')

  await carol.internalizeAction(second)

  t.equal((await scene.devnet.chain.status(parent)).state, 'mempool')
  t.equal((await scene.devnet.chain.status(txid)).state, 'mempool')
  t.equal((await carol.balance()).unconfirmed, 5000)
  t.ok(bob)
})

t.test('outputs that are brought into a basket keep what is said of them', async (t) => {
  const scene = await openScene(t)
  const [alice, bob] = await pair(scene)
  const { txid, ...args } = await unsent(alice, bob, 3000)
  const insertionRemittance = {
    basket: 'relay escrow joints',
    customInstructions: '{"terms":1}',
    tags: ['open'],
  }
  const inserted = {
    ...args,
    outputs: [{ outputIndex: 0, protocol: 'basket insertion' as const, insertionRemittance }],
  }

  await bob.internalizeAction(inserted)
  await bob.internalizeAction(inserted)

  const listed = await bob.listOutputs({
    basket: 'relay escrow joints',
    includeCustomInstructions: true,
    includeTags: true,
  })
  t.same(listed, {
    totalOutputs: 1,
    outputs: [
      {
        outpoint: `${txid}.0`,
        satoshis: 3000,
        spendable: true,
        customInstructions: '{"terms":1}',
        tags: ['open'],
      },
    ],
  })
  t.equal((await bob.balance()).unconfirmed, 0, 'what lies in a basket is not money of the wallet')
  await bob.internalizeAction(args)
  t.equal(
    (await bob.listOutputs({ basket: 'default' })).totalOutputs,
    0,
    'an output is credited once, under one name',
  )
  await t.rejects(
    bob.internalizeAction({
      ...inserted,
      outputs: [{ outputIndex: 0, protocol: 'basket insertion', insertionRemittance: { basket: 'default' } }],
    }),
    { name: 'WERR_INVALID_PARAMETER' },
  )
})

t.test('what other wallets credit and this one does not (escrow §14)', async (t) => {
  const scene = await openScene(t)
  const { chain } = scene.devnet
  const [alice, bob] = await pair(scene)
  const good = await unsent(alice, bob, 7000)
  const parsed = parseTransaction(Uint8Array.from(sdk.Transaction.fromAtomicBEEF([...good.tx]).toBinary()))
  const parents = new Map([[parsed.inputs[0]!.txid, await memberOf(chain, parsed.inputs[0]!.txid)]])
  const [input] = parsed.inputs
  const script = (change: (bytes: Uint8Array) => void): Transaction => {
    const bytes = Uint8Array.from(input!.script)
    change(bytes)
    return { ...parsed, inputs: [{ ...input!, script: bytes }] }
  }
  const typeAt = input!.script[0]!
  const changed: Record<string, Transaction> = {
    unsigned: { ...parsed, inputs: [{ ...input!, script: new Uint8Array(0) }] },
    'signed without FORKID': script((bytes) => {
      bytes[typeAt] = 0x01
    }),
    'signed for something else': script((bytes) => {
      bytes[typeAt - 3]! ^= 1
    }),
    'of version 2': { ...parsed, version: 2 },
    'not final': { ...parsed, lockTime: 2_000_000_000, inputs: [{ ...input!, sequence: 0 }] },
    'paying more than it has': {
      ...parsed,
      outputs: parsed.outputs.map((output) => ({ ...output, satoshis: 60_000 })),
    },
    'spending what is not contained': { ...parsed, inputs: [{ ...input!, txid: '11'.repeat(32) }] },
  }
  for (const [what, transaction] of Object.entries(changed)) {
    const subject = { txid: txidOf(transaction), transaction }
    const tx = await makeBeef(subject.txid, (txid) =>
      txid === subject.txid ? subject : (parents.get(txid) ?? [...parents.values()][0]),
    )
    await t.rejects(
      bob.internalizeAction({ ...good, tx: [...tx] }),
      { code: 'ERR_TRANSACTION_REFUSED' },
      what,
    )
  }
  const [output] = good.outputs
  const wrong: Record<string, sdk.InternalizeOutput> = {
    'another index': { ...output!, outputIndex: 1 },
    'no such index': { ...output!, outputIndex: 9 },
    'another suffix': {
      ...output!,
      paymentRemittance: { ...output!.paymentRemittance!, derivationSuffix: 'b3RoZXI=' },
    },
    'another sender': {
      ...output!,
      paymentRemittance: { ...output!.paymentRemittance!, senderIdentityKey: bob.identity },
    },
  }
  for (const [what, one] of Object.entries(wrong))
    await t.rejects(
      bob.internalizeAction({ ...good, outputs: [one] }),
      { name: 'WERR_INVALID_PARAMETER' },
      what,
    )
  await t.rejects(bob.internalizeAction({ ...good, outputs: [output!, output!] }), {
    name: 'WERR_INVALID_PARAMETER',
  })
  await t.rejects(bob.internalizeAction({ ...good, tx: [1, 2, 3] }), { code: 'ERR_MALFORMED' })
  t.same(await bob.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })

  // The same coins, spent otherwise before the payment is brought in.
  await alice.abortAction({ reference: good.txid })
  await alice.payTo({ identity: alice.identity, satoshis: 45_000 })
  await t.rejects(bob.internalizeAction(good), { code: 'ERR_TRANSACTION_REFUSED' }, 'a double spend')
  t.same(await bob.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })
  t.match(await bob.listActions({ labels: [] }), { totalActions: 0 })
})

t.test("a payment below the network's fee, or of a proof for another chain, is not credited", async (t) => {
  const scene = await openScene(t)
  const [alice, bob] = await pair(scene)
  const cheap = await scene.open('alice', {
    folder: 'alice cheap',
    chain: withMethods(scene.devnet.chain, { feeRate: async () => 1 }),
  })
  await scene.fund(cheap, [9000])
  const low = await unsent(cheap, bob, 4000)
  await t.rejects(bob.internalizeAction(low), { code: 'ERR_TRANSACTION_REFUSED' })

  const { txid, args } = await bill(scene.devnet, bob, 1234)
  await scene.devnet.node.mine(1)
  const member = await memberOf(scene.devnet.chain, txid)
  const moved = { ...member!, path: { ...member!.path!, height: member!.path!.height - 1 } }
  const tx = [...(await makeBeef(txid, () => moved))]
  await t.rejects(bob.internalizeAction({ ...args, tx }), { code: 'ERR_TRANSACTION_REFUSED' })
  t.same(await bob.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })
  t.ok(alice)
})

t.test('without an answer of the network nothing is credited, and a repetition succeeds', async (t) => {
  const scene = await openScene(t)
  const [alice] = await pair(scene)
  let isDown = true
  const gone = new MarketError('ERR_CHAIN_UNAVAILABLE', 'no route')
  const { chain } = scene.devnet
  const bob = await scene.open('bob', {
    folder: 'bob 2',
    chain: withMethods(chain, {
      broadcast: async (bytes) => (isDown ? Promise.reject(gone) : chain.broadcast(bytes)),
    }),
  })
  const { txid: _, ...args } = await unsent(alice, bob, 7000)

  await t.rejects(bob.internalizeAction(args), { code: 'ERR_CHAIN_UNAVAILABLE' })
  t.same(await bob.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })
  isDown = false
  await bob.internalizeAction(args)
  t.equal((await bob.balance()).unconfirmed, 7000)
})
