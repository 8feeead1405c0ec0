/** A devnet on a socket: what it answers, to whom, and what it can be made to do wrong. */
import { once } from 'node:events'
import { request } from 'node:http'
import t, { type Test } from 'tap'
import { toHex } from '../../market/bytes.ts'
import { devnetGenesis, DevnetNode } from '../../contracts/chain/devnet/node.ts'
import { type DevnetServerOptions, serveDevnet } from '../../contracts/chain/devnet/server.ts'
import { txidOf } from '../../contracts/transaction/transaction.ts'
import { type Coin, fund, ownScript, spendBytes } from '../fixtures/devnet-coins.ts'

const start = 1_800_000_000
const now = (): number => start * 1000

async function openServer(t: Test, options: Partial<DevnetServerOptions> = {}) {
  const node = await DevnetNode.open({ now })
  const { url, close } = await serveDevnet({ host: '127.0.0.1', port: 0, node, ...options })
  t.teardown(async () => {
    await close()
    await node.close()
  })
  const post = async (body: string, headers: Record<string, string> = {}) => {
    const response = await fetch(url, { method: 'POST', body, headers })
    const text = await response.text()
    return {
      status: response.status,
      body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text,
    }
  }
  const call = (method: string, ...params: unknown[]) => post(JSON.stringify({ method, params, id: 7 }))
  const result = async (method: string, ...params: unknown[]) => (await call(method, ...params)).body.result
  return { node, url, post, call, result }
}

t.test('it says what it is', async (t) => {
  const { url, result } = await openServer(t)

  t.match(await (await fetch(url)).text(), /devnet.*worth nothing/)
  t.match(await result('getblockchaininfo'), {
    chain: 'devnet',
    blocks: 104,
    headers: 104,
    warnings: /worth nothing/,
  })
  t.match(await result('getnetworkinfo'), {
    subversion: /devnet/,
    relayfee: 0.000001,
    warnings: /worth nothing/,
  })
  t.equal(await result('getblockhash', 0), devnetGenesis)
  t.equal((await fetch(url, { method: 'PUT' })).status, 405)
})

t.test('it answers as a node: results, errors with their status, batches', async (t) => {
  const { post, call, result } = await openServer(t)
  const failed = (status: number, code: number, id: unknown = 7) => ({
    status,
    body: { result: null, error: { code, message: String }, id },
  })

  t.same(await call('getblockcount'), { status: 200, body: { result: 104, error: null, id: 7 } })
  t.match(await call('nosuch'), failed(404, -32601))
  t.match(await call('constructor'), failed(404, -32601))
  t.match(await call('getblockhash', 105), failed(500, -8))
  t.match(await call('getblockhash', 'x'), failed(500, -8))
  t.match(await call('getblockhash'), failed(500, -8))
  t.match(await call('getblockcount', 1), failed(500, -8))
  t.match(await call('getblock', '0'.repeat(64)), failed(500, -5))
  t.match(await call('getblock', devnetGenesis, 4), failed(500, -8))
  t.match(await call('getrawtransaction', '0'.repeat(64)), failed(500, -5))
  t.match(await call('getmempoolentry', '0'.repeat(64)), failed(500, -5))
  t.match(await call('getmerkleproof2', '', '0'.repeat(64)), failed(500, -5))
  t.match(await call('getmerkleproof2', devnetGenesis, '0'.repeat(64)), failed(500, -5))
  t.match(await call('sendrawtransaction', 'xy'), failed(500, -8))
  t.match(await call('sendrawtransaction', '00'), failed(500, -22))
  t.match(await call('faucet', '1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa', 1), failed(500, -8), 'a main network')
  t.match(await call('faucet', 'mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfm', 1), failed(500, -8), 'a wrong checksum')
  t.match(await call('generate', 10_001), failed(500, -8))
  t.match(await post('{"method":'), failed(500, -32700, null))
  t.match(await post('"x"'), failed(500, -32700, null))
  t.match(await post('{"id":3}'), failed(400, -32600, 3))
  t.match(await post('{"id":3,"method":"getblockcount","params":{}}'), failed(400, -32600, 3))
  const batch = ['getblockcount', 'nosuch', 'getbestblockhash'].map((method, id) => ({
    method,
    params: [],
    id,
  }))
  t.match(await post(JSON.stringify(batch)), {
    status: 200,
    body: [
      { result: 104, id: 0 },
      { error: { code: -32601 }, id: 1 },
      { result: await result('getbestblockhash'), id: 2 },
    ],
  })
  t.match(await post(JSON.stringify(Array(101).fill(batch[0]))), failed(400, -32600, null))
})

t.test('a payment of the faucet is seen in the mempool, in a block and as an output', async (t) => {
  const { result, call } = await openServer(t)
  const address = 'mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn'

  const txid = await result('faucet', address, 1_234_567)
  const raw = await result('getrawtransaction', txid)
  t.equal(txidOf(Buffer.from(raw, 'hex')), txid)
  t.same(await result('getrawmempool'), [txid])
  t.match(await result('getrawmempool', true), { [txid]: { size: raw.length / 2, depends: [], height: 104 } })
  t.match(await result('getmempoolentry', txid), { size: raw.length / 2, time: start, fee: Number })
  t.match(await result('getmempoolinfo'), { size: 1, bytes: raw.length / 2, mempoolminfee: 0.000001 })
  t.match(await result('gettxout', txid, 0), { confirmations: 0, value: 0.01234567, coinbase: false })
  t.equal(await result('gettxout', txid, 0, false), null)
  t.equal((await result('getrawtransaction', txid, 1)).blockhash, undefined)

  const [hash] = await result('generatetoaddress', 1, address)
  await result('generate', 2)
  t.same(await result('getrawmempool'), [])
  t.match(await result('gettxout', txid, 0, false), {
    confirmations: 3,
    scriptPubKey: { hex: /^76a914/, type: 'pubkeyhash' },
  })
  const verbose = await result('getrawtransaction', txid, true)
  t.match(verbose, {
    txid,
    hex: raw,
    blockhash: hash,
    confirmations: 3,
    blockheight: 105,
    vout: [{ value: 0.01234567, n: 0 }],
  })
  const header = await result('getblockheader', hash)
  t.match(header, {
    hash,
    height: 105,
    confirmations: 3,
    previousblockhash: await result('getblockhash', 104),
  })
  t.equal(header.nextblockhash, await result('getblockhash', 106))
  t.match(header, { merkleroot: /^[0-9a-f]{64}$/, mediantime: Number, time: start })
  const rawHeader = await result('getblockheader', hash, false)
  t.equal(rawHeader.length, 160)
  t.ok((await result('getblock', hash, 'RAW_BLOCK')).startsWith(rawHeader))
  t.same((await result('getblock', hash)).tx.slice(1), [txid])
  t.match((await result('getblock', hash, 2)).tx, [{ vin: [{ coinbase: String }] }, { txid, hex: raw }])
  t.equal((await result('getblock', hash, 'DECODE_HEADER_AND_COINBASE')).tx.length, 1)
  t.match(await call('sendrawtransaction', raw), {
    status: 500,
    body: { error: { code: -26, message: '257: txn-already-known' } },
  })
})

t.test('all that a test demands of a network can be asked for', async (t) => {
  const { node, result } = await openServer(t)
  const [coin, other] = (await fund(node, [ownScript, ownScript])) as [Coin, Coin]
  const unpaid = toHex(spendBytes([coin], { outputs: [{ satoshis: coin.satoshis, script: ownScript }] }))
  const txid = await result('sendrawtransaction', toHex(spendBytes([other])))

  const [hash] = await result('devnet.mine', [unpaid], false)
  t.equal((await result('getblock', hash)).tx.length, 2)
  t.same(await result('getrawmempool'), [txid])
  t.equal((await result('devnet.reorganize', 1, [unpaid])).length, 2)
  t.equal(await result('getblockcount'), 107)
  await result('invalidateblock', hash)
  await result('reconsiderblock', hash)
  t.equal(await result('devnet.settime', start + 100), start + 100)
  await result('generate', 1)
  t.equal((await result('getblockheader', await result('getbestblockhash'))).time, start + 100)
})

t.test('it fails, waits and drops as often as it was told', async (t) => {
  const { call, result, node } = await openServer(t)
  const [coin] = (await fund(node, [ownScript])) as [Coin]
  const bytes = spendBytes([coin])

  await result('devnet.fault', {
    method: 'getblockcount',
    kind: 'fail',
    times: 2,
    code: -28,
    message: 'warming up',
  })
  const failed = { status: 500, body: { error: { code: -28, message: 'warming up' } } }
  t.match(await call('getblockcount'), failed)
  t.match(await call('getbestblockhash'), { status: 200 })
  t.match(await call('getblockcount'), failed)
  t.equal(await result('getblockcount'), 105)

  await result('devnet.fault', { method: '*', kind: 'delay', ms: 50 })
  const before = process.hrtime.bigint()
  t.equal(await result('getblockcount'), 105)
  t.ok(process.hrtime.bigint() - before >= 45_000_000n)

  const closed = { cause: { code: 'UND_ERR_SOCKET' } }
  await result('devnet.fault', { method: 'sendrawtransaction', kind: 'refuse' })
  await t.rejects(call('sendrawtransaction', toHex(bytes)), closed)
  t.equal(node.mempool.size, 0)
  await result('devnet.fault', { method: 'sendrawtransaction', kind: 'drop' })
  await t.rejects(call('sendrawtransaction', toHex(bytes)), closed)
  t.equal(node.mempool.size, 1, 'it was taken, but nobody was told')

  await result('devnet.fault', { method: 'getblockcount', kind: 'fail', times: 100 })
  await result('devnet.fault')
  t.equal(await result('getblockcount'), 105)
  t.match(await call('devnet.fault', { method: 'x', kind: 'explode' }), { body: { error: { code: -8 } } })
})

t.test('with a password only those who know it are heard', async (t) => {
  const { url, post } = await openServer(t, { user: 'u', password: 'p:w' })
  const call = '{"method":"getblockcount","id":1}'
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })

  t.equal((await post(call, basic('u:p:w'))).status, 200)
  for (const wrong of [{}, basic('u:p'), basic('x:p:w'), { authorization: 'Bearer x' }]) {
    const response = await fetch(url, {
      method: 'POST',
      body: call,
      headers: wrong as Record<string, string>,
    })
    t.equal(response.status, 401)
    t.match(response.headers.get('www-authenticate'), /^Basic/)
    t.equal(await response.text(), '')
  }
})

t.test('a body that is too large is not read to its end', async (t) => {
  const { url, result } = await openServer(t)
  const sending = request(url, { method: 'POST' })
  sending.on('error', () => undefined) // it may be closed while more is sent
  const part = Buffer.alloc(1 << 20, 0x20)
  for (let mebibytes = 0; mebibytes < 9; mebibytes++) sending.write(part)

  const [response] = await once(sending, 'response')

  t.equal(response.statusCode, 413)
  t.equal(await result('getblockcount'), 104)
  sending.destroy()
})

t.test('it mines by itself where it is told how often', async (t) => {
  const node = await DevnetNode.open({ now })
  const { txid } = { txid: await node.pay(ownScript, 1000) }
  const { close } = await serveDevnet({ host: '127.0.0.1', port: 0, node, blockEveryMs: 5 })
  t.teardown(close)

  while (node.chain.placeOf(txid) === undefined) await new Promise(setImmediate)
  t.equal(node.chain.placeOf(txid)?.block.height, 105)
})

t.test('a port that is taken is an error', async (t) => {
  const { url, node } = await openServer(t)
  const port = Number(new URL(url).port)
  await t.rejects(serveDevnet({ host: '127.0.0.1', port, node }), { code: 'EADDRINUSE' })
})
