/** ARC and the header services, against servers that answer as their specifications say, over headers of a devnet. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { ArcChain } from '../../contracts/chain/arc.ts'
import type { HeaderSource } from '../../contracts/chain/header-source.ts'
import { BlockHeaders } from '../../contracts/chain/headers-service.ts'
import { parseAddress } from '../../contracts/chain/http.ts'
import { WhatsOnChain } from '../../contracts/chain/whats-on-chain.ts'
import { readBlock } from '../../contracts/transaction/block.ts'
import { makePath, pathId, serializePath } from '../../contracts/transaction/merkle-path.ts'
import { txidOfHash } from '../../contracts/transaction/transaction.ts'
import { toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { bodyOf, type Devnet, openDevnet, serve, spend } from '../fixtures/chain.ts'
import { ownScript } from '../fixtures/devnet-coins.ts'

const vectors = JSON.parse(readFileSync(new URL('../fixtures/vectors/arc.json', import.meta.url), 'utf8'))
const filled = (body: unknown, txid: string): any => JSON.parse(JSON.stringify(body).replaceAll('TXID', txid))

interface Exchange {
  status: number
  body: unknown
}
type Routes = Record<string, () => Exchange | Promise<Exchange>>

/** By method and path; what is not there is not found. */
async function serveRoutes(t: any, routes: Routes) {
  const seen: { route: string; headers: any; body: string }[] = []
  const url = await serve(t, async (request, response) => {
    const route = `${request.method} ${request.url}`
    seen.push({ route, headers: request.headers, body: await bodyOf(request) })
    const { status, body } = (await routes[route]?.()) ?? { status: 404, body: { detail: 'Not found' } }
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body))
  })
  return { url, seen }
}

/** A Block Headers Service that knows the headers of a devnet, and one block that was mined in vain. */
async function serveHeaders(
  t: any,
  { node }: Devnet,
  change: (path: string, body: any) => unknown = (_, body) => body,
) {
  const headerOf = (height: number) => {
    const { hash, header } = node.chain.at(height)!
    return {
      ...{ hash, version: header.version, prevBlockHash: header.previous, merkleRoot: header.root },
      ...{ creationTimestamp: header.time, difficultyTarget: header.bits, nonce: header.nonce, work: '2' },
    }
  }
  const url = await serve(t, async (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://h')
    const { height: tip } = node.chain.tip
    const answer = async (): Promise<unknown> => {
      if (request.headers.authorization !== 'Bearer token/1') return undefined
      if (pathname === '/api/v1/chain/tip/longest')
        return { header: headerOf(tip), state: 'LONGEST_CHAIN', height: tip }
      if (pathname === '/api/v1/chain/header/byHeight') {
        const [first, count] = [Number(searchParams.get('height')), Number(searchParams.get('count'))]
        const heights = Array.from({ length: count }, (_, at) => first + at).filter((height) => height <= tip)
        return heights.length === 0 ? undefined : heights.map(headerOf)
      }
      if (pathname.startsWith('/api/v1/chain/header/state/')) {
        const block = [...Array(tip + 1).keys()]
          .map((at) => node.chain.at(at)!)
          .find(({ hash }) => pathname.endsWith(hash))
        if (block === undefined) return undefined
        return {
          header: headerOf(block.height),
          state: 'LONGEST_CHAIN',
          chainWork: '2',
          height: block.height,
        }
      }
      if (pathname !== '/api/v1/chain/merkleroot/verify') return undefined
      const [{ merkleRoot, blockHeight }] = JSON.parse(await bodyOf(request))
      const known = node.chain.at(blockHeight)
      const state =
        known === undefined ? 'UNABLE_TO_VERIFY' : known.header.root === merkleRoot ? 'CONFIRMED' : 'INVALID'
      const confirmation = { blockHash: known?.hash ?? '', blockHeight, merkleRoot, confirmation: state }
      return { confirmationState: state, confirmations: [confirmation] }
    }
    const body = await answer()
    response
      .writeHead(body === undefined ? 404 : 200)
      .end(JSON.stringify(change(pathname, body) ?? { code: 'ErrNone' }))
  })
  const headers = new BlockHeaders(parseAddress(url.replace('//', '//:token%2F1@')))
  t.teardown(() => headers.close())
  return headers
}

async function openArc(t: any, routes: Routes, headers: HeaderSource) {
  const { url, seen } = await serveRoutes(t, routes)
  const chain = new ArcChain(parseAddress(url.replace('//', '//:api-key@')), {
    network: 'main',
    headers,
    timeoutMs: 2000,
  })
  t.teardown(() => chain.close())
  return { chain, seen }
}

t.test('what ARC answers to a broadcast is taken for what it is', async (t) => {
  const devnet = await openDevnet(t)
  const headers = await serveHeaders(t, devnet)
  const { bytes, txid } = spend(await devnet.coin())
  for (const { name, status, body, then, outcome, refusal } of vectors.broadcasts) {
    const { chain, seen } = await openArc(
      t,
      {
        'POST /v1/tx': () => ({ status, body: filled(body, txid) }),
        ...(then && { [`GET /v1/tx/${txid}`]: () => ({ status: 200, body: filled(then, txid) }) }),
      },
      headers,
    )

    const done = chain.broadcast(bytes)

    if (outcome === 'taken') t.equal(await done, txid, name)
    if (outcome === 'refused')
      await t.rejects(done, { code: 'ERR_TRANSACTION_REFUSED', extras: { refusal } }, name)
    if (outcome === 'unclear') await t.rejects(done, { code: 'ERR_CHAIN_UNAVAILABLE' }, name)
    if (outcome === 'incredible') await t.rejects(done, { code: 'ERR_INTERNAL' }, name)
    const [sent] = seen
    t.same(JSON.parse(sent!.body), { rawTx: toHex(bytes) })
    t.match(sent!.headers, {
      authorization: 'Bearer api-key',
      'x-waitfor': 'SEEN_ON_NETWORK',
      'x-maxtimeout': '10',
    })
    t.equal(seen.filter(({ route }) => route.startsWith('POST')).length, 1, 'sent once')
  }
})

t.test('a broadcast whose answer is lost is not sent again, and asked after', async (t) => {
  const devnet = await openDevnet(t)
  const { bytes, txid } = spend(await devnet.coin())
  let sent = 0
  const url = await serve(t, (request, response) => {
    if (request.method === 'POST') {
      sent++
      response.destroy()
    } else response.end(JSON.stringify({ txid, txStatus: 'SEEN_ON_NETWORK' }))
  })
  const chain = new ArcChain(parseAddress(url), { network: 'main', headers: await serveHeaders(t, devnet) })
  t.teardown(() => chain.close())

  t.equal(await chain.broadcast(bytes), txid)
  t.equal(sent, 1)
})

t.test('a status is what ARC says, and mined only what the headers bear out', async (t) => {
  const devnet = await openDevnet(t)
  const headers = await serveHeaders(t, devnet)
  const { bytes, txid } = spend(await devnet.coin())
  let answer: Exchange = { status: 404, body: {} }
  const { chain } = await openArc(t, { [`GET /v1/tx/${txid}`]: () => answer }, headers)
  for (const { name, status, body, state } of vectors.statuses) {
    answer = { status, body: filled(body, txid) }
    t.equal((await chain.status(txid)).state, state, name)
    if (status === 200) t.equal(await chain.proof(txid), undefined, name)
  }

  await devnet.chain.broadcast(bytes)
  await devnet.node.mine(3)
  const { height } = devnet.node.chain.tip
  const { hash, bytes: block } = devnet.node.chain.at(height - 2)!
  const txids = [...readBlock(block).transactions].map(({ txid }) => txid)
  const path = makePath(height - 2, txids, txids.indexOf(txid))
  const mined = (change: object) => ({
    status: 200,
    body: { txid, txStatus: 'MINED', blockHash: hash, ...change },
  })
  answer = mined({ blockHeight: height - 2, merklePath: toHex(serializePath(path)) })
  t.same(await chain.status(txid), { state: 'mined', depth: 3, height: height - 2, hash })
  t.equal(pathId((await chain.proof(txid))!), pathId(path))

  answer = mined({ merklePath: toHex(serializePath({ ...path, height: height - 1 })) })
  t.same(await chain.status(txid), { state: 'mempool' }, 'another block')
  t.equal(await chain.proof(txid), undefined)
  answer = mined({ merklePath: toHex(serializePath({ ...path, height: height + 9 })) })
  t.same(await chain.status(txid), { state: 'mempool' }, 'a block that nobody knows')
  answer = mined({ merklePath: toHex(serializePath(makePath(height, ['ab'.repeat(32)], 0))) })
  await t.rejects(chain.status(txid), { code: 'ERR_INTERNAL' }, 'a path of another transaction')
  answer = mined({ merklePath: '0000' })
  await t.rejects(chain.proof(txid), { code: 'ERR_INTERNAL' })
  answer = { status: 200, body: { txid: 'ab'.repeat(32), txStatus: 'SEEN_ON_NETWORK' } }
  await t.rejects(chain.status(txid), { code: 'ERR_INTERNAL' })
  answer = { status: 401, body: {} }
  await t.rejects(chain.status(txid), { code: 'ERR_CHAIN_UNAVAILABLE', message: /API key/ })
})

t.test('the fee is what the policy says, and never less than the minimum', async (t) => {
  const devnet = await openDevnet(t)
  const headers = await serveHeaders(t, devnet)
  for (const { body, feeRate, code } of vectors.policies) {
    const { chain } = await openArc(t, { 'GET /v1/policy': () => ({ status: 200, body }) }, headers)
    if (code === undefined) t.equal(await chain.feeRate(), feeRate)
    else await t.rejects(chain.feeRate(), { code })
  }
})

t.test('with headers alone, what is missing is said', async (t) => {
  const devnet = await openDevnet(t)
  const { chain } = await openArc(t, {}, await serveHeaders(t, devnet))
  const missing = { code: 'ERR_CHAIN_UNAVAILABLE', message: /does not tell/ }
  const txid = 'ab'.repeat(32)

  t.notOk(chain.canScan)
  t.equal(await chain.isUnspent({ txid, vout: 0 }), undefined)
  await t.rejects(chain.transaction(txid), missing)
  await t.rejects(chain.proof(txid), missing)
  await t.rejects(chain.block(), missing)
  await t.rejects(chain.mempool(), missing)
})

t.test('a block headers service tells places, roots and the median time', async (t) => {
  const devnet = await openDevnet(t)
  const headers = await serveHeaders(t, devnet)
  const { height, hash, medianTime, header } = devnet.node.chain.tip

  t.same(await headers.tip(), { height, hash, medianTime })
  t.equal(await headers.currentHeight(), height)
  t.same(await headers.placeAt(height), { height, hash })
  t.equal(await headers.placeAt(height + 1), undefined)
  t.ok(await headers.isValidRootForHeight(header.root, height))
  t.notOk(await headers.isValidRootForHeight(header.root, height - 1))
  t.notOk(await headers.isValidRootForHeight(header.root, height + 1))

  const lies: [
    string,
    (path: string, body: any) => unknown,
    (headers: BlockHeaders) => Promise<unknown>,
    string,
  ][] = [
    [
      'a changed header',
      (p, b) => (p.endsWith('longest') ? { ...b, header: { ...b.header, nonce: 1 } } : b),
      (h) => h.tip(),
      'ERR_INTERNAL',
    ],
    [
      'headers that do not follow',
      (p, b) => (p.endsWith('byHeight') ? b.slice(1, 3) : b),
      (h) => h.tip(),
      'ERR_INTERNAL',
    ],
    [
      'a form of its own',
      (p, b) => (p.endsWith('byHeight') ? { headers: b } : b),
      (h) => h.placeAt(1),
      'ERR_INTERNAL',
    ],
    [
      'a word for an answer',
      (p, b) => (p.endsWith('verify') ? { confirmationState: 'SURE' } : b),
      (h) => h.isValidRootForHeight(header.root, height),
      'ERR_CHAIN_UNAVAILABLE',
    ],
    [
      'a word for a height',
      (p, b) => (p.endsWith('longest') ? { height: '7' } : b),
      (h) => h.currentHeight(),
      'ERR_CHAIN_UNAVAILABLE',
    ],
  ]
  for (const [name, lie, question, code] of lies)
    await t.rejects(question(await serveHeaders(t, devnet, lie)), { code }, name)
  const stale = await serveHeaders(t, devnet, (path, body) =>
    path.includes('/state/') ? { ...body, state: 'STALE' } : body,
  )
  t.equal(await stale.placeAt(height), undefined, 'a block that was mined in vain')
})

t.test('a service like WhatsOnChain also tells transactions, proofs and what is unspent', async (t) => {
  const devnet = await openDevnet(t)
  const coin = await devnet.coin()
  const { bytes, txid } = spend(coin)
  await devnet.chain.broadcast(bytes)
  await devnet.node.mine(1)
  const { height, hash, medianTime, header } = devnet.node.chain.tip
  const script = txidOfHash(sha256(ownScript))
  const json = (body: unknown): Exchange => ({ status: 200, body })
  const listed = (isSpentInMempoolTx: boolean, change = {}) =>
    json({
      script,
      result: [{ height, tx_pos: 0, tx_hash: txid, value: 1, isSpentInMempoolTx, status: 'confirmed' }],
      error: '',
      ...change,
    })
  const raw = await devnet.call('getblockheader', hash, true)
  const proof = await devnet.call('getmerkleproof2', hash, txid)
  const routes: Routes = {
    'GET /v1/bsv/main/chain/info': async () => json(await devnet.call('getblockchaininfo')),
    [`GET /v1/bsv/main/block/${height}/header`]: () => json(raw),
    [`GET /v1/bsv/main/block/${hash}/header`]: () => json(raw),
    [`GET /v1/bsv/main/tx/${txid}/hex`]: () => json(`${toHex(bytes)}\n`),
    [`GET /v1/bsv/main/tx/${txid}/proof/tsc`]: () => json([proof]),
    [`GET /v1/bsv/main/script/${script}/unspent/all`]: () => listed(false),
  }
  const { url, seen } = await serveRoutes(t, routes)
  const service = new WhatsOnChain(parseAddress(`${url.replace('//', '//:key@')}/v1/bsv/main`))
  const { chain } = await openArc(t, {}, service)

  t.same(await chain.tip(), { height, hash, medianTime })
  t.equal(await chain.currentHeight(), height)
  t.same(await chain.placeAt(height), { height, hash })
  t.equal(await chain.placeAt(height + 1), undefined)
  t.ok(await chain.isValidRootForHeight(header.root, height))
  t.notOk(await chain.isValidRootForHeight(hash, height))
  t.same(await chain.transaction(txid), Buffer.from(bytes))
  t.equal(await chain.transaction(hash), undefined)
  t.equal(pathId((await chain.proof(txid))!), pathId((await devnet.chain.proof(txid))!))
  t.equal(await chain.proof(hash), undefined)
  t.ok(await chain.isUnspent({ txid, vout: 0 }))
  t.notOk(await chain.isUnspent({ txid, vout: 1 }), 'never was')
  t.notOk(await chain.isUnspent({ txid: hash, vout: 0 }), 'not known')
  t.equal(seen[0]?.headers.authorization, 'key')

  const changes: [string, Routes, () => Promise<unknown>, unknown][] = [
    [
      'spent',
      { [`GET /v1/bsv/main/script/${script}/unspent/all`]: () => listed(false, { result: [] }) },
      () => chain.isUnspent({ txid, vout: 0 }),
      false,
    ],
    [
      'spent in the mempool',
      { [`GET /v1/bsv/main/script/${script}/unspent/all`]: () => listed(true) },
      () => chain.isUnspent({ txid, vout: 0 }),
      false,
    ],
    [
      'on a page to come',
      {
        [`GET /v1/bsv/main/script/${script}/unspent/all`]: () =>
          listed(false, { result: [], nextPageToken: 'x' }),
      },
      () => chain.isUnspent({ txid, vout: 0 }),
      'ERR_CHAIN_UNAVAILABLE',
    ],
    [
      'of another script',
      { [`GET /v1/bsv/main/script/${script}/unspent/all`]: () => listed(false, { script: hash }) },
      () => chain.isUnspent({ txid, vout: 0 }),
      'ERR_CHAIN_UNAVAILABLE',
    ],
    [
      'too many questions',
      { [`GET /v1/bsv/main/script/${script}/unspent/all`]: () => ({ status: 429, body: '' }) },
      () => chain.isUnspent({ txid, vout: 0 }),
      'ERR_CHAIN_UNAVAILABLE',
    ],
    [
      'bytes of another',
      { [`GET /v1/bsv/main/tx/${txid}/hex`]: () => json(toHex(bytes.subarray(1))) },
      () => chain.transaction(txid),
      'ERR_INTERNAL',
    ],
    [
      'a wrong proof',
      { [`GET /v1/bsv/main/tx/${txid}/proof/tsc`]: () => json([{ ...proof, index: proof.index ^ 1 }]) },
      () => chain.proof(txid),
      'ERR_INTERNAL',
    ],
    [
      'no proof yet',
      { [`GET /v1/bsv/main/tx/${txid}/proof/tsc`]: () => json(null) },
      () => chain.proof(txid),
      undefined,
    ],
    [
      'a changed header',
      { [`GET /v1/bsv/main/block/${hash}/header`]: () => json({ ...raw, nonce: 1 }) },
      () => chain.proof(txid),
      'ERR_INTERNAL',
    ],
    [
      'a header of another height',
      { [`GET /v1/bsv/main/block/${height}/header`]: () => json({ ...raw, height: 3 }) },
      () => chain.placeAt(height),
      'ERR_INTERNAL',
    ],
  ]
  for (const [name, change, question, outcome] of changes) {
    const before = { ...routes }
    Object.assign(routes, change)
    if (typeof outcome === 'string') await t.rejects(question(), { code: outcome }, name)
    else t.equal(await question(), outcome, name)
    Object.assign(routes, before)
  }
})
