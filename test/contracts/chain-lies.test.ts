/** A node that is slow, gone, confused or lying is never believed, and its password never told. */
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { parseAddress } from '../../contracts/chain/http.ts'
import { NodeChain } from '../../contracts/chain/node.ts'
import { pathId } from '../../contracts/transaction/merkle-path.ts'
import { toHex } from '../../market/bytes.ts'
import { type Lie, nothing, openDevnet, serve, serveLies, spend } from '../fixtures/chain.ts'

const unavailable = { code: 'ERR_CHAIN_UNAVAILABLE' }
const incredible = { code: 'ERR_INTERNAL' }
const hash = 'ab'.repeat(32)

t.test('an answer that is lost is asked for once more, unless it is of a broadcast', async (t) => {
  const { chain, call, coin, node } = await openDevnet(t)
  const { bytes, txid } = spend(await coin())
  const drop = (method: string, times = 1) => call('devnet.fault', { method, kind: 'drop', times })

  await drop('getblockchaininfo')
  t.equal((await chain.tip()).height, node.chain.tip.height)
  await drop('getblockchaininfo', 2)
  await t.rejects(chain.tip(), unavailable)

  await drop('sendrawtransaction')
  t.equal(await chain.broadcast(bytes), txid, 'it had arrived')
  t.ok(node.mempool.get(txid))
})

t.test('a broadcast that did not arrive is not known to have, and may be repeated', async (t) => {
  const { chain, call, coin, node } = await openDevnet(t)
  const { bytes, txid } = spend(await coin())

  await call('devnet.fault', { method: 'sendrawtransaction', kind: 'refuse' })
  await t.rejects(chain.broadcast(bytes), unavailable)
  for (const [code, message] of [
    [-25, 'too-long-validation-time'],
    [-26, '68: too busy'],
    [-26, '257: txn-already-known'],
    [-27, 'Transaction already in the mempool'],
    [-28, 'Loading block index'],
    [-1, 'something'],
  ] as const) {
    await call('devnet.fault', { method: 'sendrawtransaction', kind: 'fail', code, message })
    await t.rejects(chain.broadcast(bytes), { ...unavailable, message: new RegExp(message) })
  }
  await call('devnet.fault', { method: 'sendrawtransaction', kind: 'refuse' })
  await call('devnet.fault', { method: 'getrawtransaction', kind: 'fail', code: -28 })
  await t.rejects(chain.broadcast(bytes), unavailable, 'when not even that can be asked')

  t.notOk(node.mempool.get(txid))
  t.equal(await chain.broadcast(bytes), txid)
})

t.test('a node that is slow, silent, endless or no node is unavailable', async (t) => {
  const { chain, call, url: devnetUrl } = await openDevnet(t)
  const impatient = new NodeChain(parseAddress(devnetUrl), 'devnet', { timeoutMs: 100 })
  t.teardown(() => impatient.close())
  await call('devnet.fault', { method: 'getblockchaininfo', kind: 'delay', ms: 10_000 })
  await t.rejects(impatient.tip(), { ...unavailable, message: /100 ms/ })
  t.ok(await chain.tip(), 'and answers the next time')

  const silent = (response: ServerResponse) => response.write('{"result":')
  const answers: ((response: ServerResponse) => unknown)[] = [
    silent,
    (response) => response.socket?.destroy(),
    (response) => response.end('<html>a hotel</html>'),
    (response) => response.end('[]'),
    (response) => response.end('{"error":"no"}'),
    (response) => response.writeHead(401).end(),
    (response) => response.writeHead(500).end('Work queue depth exceeded'),
    (response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
    (response) => {
      const part = Buffer.alloc(8 << 20, 0x20)
      const more = (): void => {
        while (response.write(part));
        response.once('drain', more)
      }
      more()
    },
  ]
  for (const answer of answers) {
    const url = await serve(t, (_, response) => answer(response))
    const node = new NodeChain(parseAddress(url.replace('//', '//me:secret@')), 'devnet', {
      timeoutMs: answer === silent ? 200 : 10_000,
    })
    const error: any = await node.tip().catch((error) => error)
    t.match(error, unavailable, answer.toString())
    t.notMatch(`${error.stack} ${JSON.stringify(error.extras)} ${String(error.cause?.stack)}`, /secret|bWU6/)
    await node.close()
    await t.rejects(node.tip(), unavailable, 'closed')
  }
  const gone = new NodeChain(parseAddress('http://me:secret@127.0.0.1:1'), 'devnet')
  const error: any = await gone.tip().catch((error) => error)
  t.match(error, unavailable)
  t.notMatch(`${error.message} ${error.cause}`, /secret/)
})

t.test('lies about transactions, headers, proofs and blocks are noticed', async (t) => {
  const devnet = await openDevnet(t)
  const [first, second] = [spend(await devnet.coin()), spend(await devnet.coin())]
  await devnet.chain.broadcast(first.bytes)
  await devnet.chain.broadcast(second.bytes)
  await devnet.node.mine(2)
  const { height } = devnet.node.chain.tip
  const bytes = Buffer.from((await devnet.chain.block(height - 1))!.bytes)
  const flipped = (at: number) => {
    const copy = Buffer.from(bytes)
    copy[at]! ^= 1
    return toHex(copy)
  }
  const third = spend(await devnet.coin())
  const renaming: Lie = (method, result) => {
    if (method === 'getrawtransaction') throw new Error('it has another name here')
    return method === 'sendrawtransaction' ? hash : result
  }
  const lies: [string, Lie, (chain: NodeChain) => Promise<unknown>][] = [
    [
      'bytes of another',
      (m, r) => (m === 'getrawtransaction' ? toHex(second.bytes) : r),
      (c) => c.transaction(first.txid),
    ],
    ['not even hex', (m, r) => (m === 'getrawtransaction' ? `${r}0` : r), (c) => c.transaction(first.txid)],
    [
      'another in full',
      (m, r) => (m === 'getrawtransaction' ? { ...r, hex: toHex(second.bytes) } : r),
      (c) => c.status(first.txid),
    ],
    [
      'a wrong node',
      proofLie((p) => ({ ...p, nodes: [hash, ...p.nodes.slice(1)] })),
      (c) => c.proof(first.txid),
    ],
    ['a wrong place', proofLie((p) => ({ ...p, index: p.index ^ 1 })), (c) => c.proof(first.txid)],
    [
      'a place outside',
      proofLie((p) => ({ ...p, index: p.index + 2 ** p.nodes.length })),
      (c) => c.proof(first.txid),
    ],
    ['a proof of another', proofLie((p) => ({ ...p, txOrId: second.txid })), (c) => c.proof(first.txid)],
    ['of another block', proofLie((p) => ({ ...p, target: hash })), (c) => c.proof(first.txid)],
    ['cut short', proofLie((p) => ({ ...p, nodes: p.nodes.slice(1) })), (c) => c.proof(first.txid)],
    ['a root', headerLie({ merkleroot: hash }), (c) => c.proof(first.txid)],
    ['a root', headerLie({ merkleroot: hash }), (c) => c.isValidRootForHeight(hash, height)],
    ['a height that is none', headerLie({ height: -1 }), (c) => c.proof(first.txid)],
    ['a block of another header', (m, r) => (m === 'getblock' ? flipped(40) : r), (c) => c.block(height - 1)],
    [
      'other transactions',
      (m, r) => (m === 'getblock' ? flipped(bytes.length - 6) : r),
      (c) => c.block(height - 1),
    ],
    [
      'an unreadable one',
      (m, r) => (m === 'getblock' ? toHex(bytes.subarray(0, -1)) : r),
      (c) => c.block(height - 1),
    ],
    ['a fee of all coins', (m, r) => (m === 'getnetworkinfo' ? { relayfee: 1 } : r), (c) => c.feeRate()],
    ['a fee in words', (m, r) => (m === 'getmempoolinfo' ? { mempoolminfee: '1' } : r), (c) => c.feeRate()],
    ['a mempool of nonsense', (m, r) => (m === 'getrawmempool' ? ['x'] : r), (c) => c.mempool()],
    ['another name', renaming, (c) => c.broadcast(third.bytes)],
  ]
  for (const [name, lie, question] of lies) {
    const chain = await serveLies(t, devnet, lie)
    await t.rejects(question(chain), incredible, name)
  }
})

const proofLie =
  (change: (proof: any) => unknown): Lie =>
  (method, result) =>
    method === 'getmerkleproof2' ? change(result) : result
const headerLie =
  (change: object): Lie =>
  (method, result) =>
    method === 'getblockheader' ? { ...result, ...change } : result

t.test('a proof is made from the block where the node has no method for it', async (t) => {
  const devnet = await openDevnet(t)
  const { bytes, txid } = spend(await devnet.coin())
  await devnet.chain.broadcast(bytes)
  await devnet.node.mine(1)
  const asked: string[] = []
  const chain = await serveLies(t, devnet, (method, result) => {
    asked.push(method)
    if (method === 'getmerkleproof2') throw new Error('Method not found')
    return result
  })

  const path = await chain.proof(txid)

  t.equal(pathId(path!), pathId((await devnet.chain.proof(txid))!))
  t.ok(asked.includes('getblock'))
  const liar = await serveLies(t, devnet, (method, result) => {
    if (method === 'getmerkleproof2') throw new Error('Method not found')
    return method === 'getblock' ? { ...result, tx: [txid] } : result
  })
  await t.rejects(liar.proof(txid), incredible)
})

t.test('what is in a block outside the best chain only is unknown', async (t) => {
  const devnet = await openDevnet(t)
  const { bytes, txid } = spend(await devnet.coin())
  await devnet.chain.broadcast(bytes)
  await devnet.node.mine(1)
  const stale: Lie = (method, result) =>
    method === 'getrawtransaction' ? { ...result, confirmations: 0, blockheight: undefined } : result

  const chain = await serveLies(t, devnet, stale)

  t.same(await chain.status(txid), { state: 'unknown' })
  t.equal(await chain.proof(txid), undefined)
  const reorganised = await serveLies(t, devnet, headerLie({ confirmations: -1 }))
  t.equal(await reorganised.proof(txid), undefined, 'taken back between two questions')
  const older = await serveLies(t, devnet, (method, result) =>
    method === 'getrawtransaction' ? { ...result, blockheight: undefined } : result,
  )
  t.match(await older.status(txid), { state: 'mined', depth: 1, height: devnet.node.chain.tip.height })
})

t.test('a fee that the node asks for is paid', async (t) => {
  const devnet = await openDevnet(t)
  const chain = await serveLies(t, devnet, (method, result) =>
    method === 'getmempoolinfo' ? { ...result, mempoolminfee: 0.0000025 } : result,
  )

  t.equal(await chain.feeRate(), 250)
})

t.test('roots are asked for once, and again when the tip changes', async (t) => {
  const devnet = await openDevnet(t)
  const asked: string[] = []
  const chain = await serveLies(t, devnet, (method, result) => {
    asked.push(method)
    return asked.length > 1000 ? nothing : result
  })
  const { height, header } = devnet.node.chain.tip
  const old = devnet.node.chain.at(1)!
  const count = () => asked.filter((method) => method === 'getblockheader').length

  for (let round = 0; round < 3; round++) {
    t.ok(await chain.isValidRootForHeight(header.root, height))
    t.ok(await chain.isValidRootForHeight(old.header.root, 1))
    t.notOk(await chain.isValidRootForHeight(hash, 1))
  }
  t.equal(count(), 2)
  await devnet.node.mine(1)
  t.ok(await chain.isValidRootForHeight(header.root, height))
  t.ok(await chain.isValidRootForHeight(old.header.root, 1))
  t.equal(count(), 4, 'under another tip nothing is settled')
})
