/** The option `--chain`: one form, one network, and no password that is ever shown. */
import t from 'tap'
import { devnetGenesis } from '../../contracts/chain/devnet/node.ts'
import { genesisOf, mainFork } from '../../contracts/chain/networks.ts'
import { devnetUrl, openChain, parseChain } from '../../contracts/chain/open.ts'
import { bodyOf, openDevnet, serve } from '../fixtures/chain.ts'

const malformed = { code: 'ERR_MALFORMED' }
const other = { code: 'ERR_CONFLICT' }

t.test('the forms of the option', async (t) => {
  t.match(parseChain('devnet'), { kind: 'devnet', address: { url: new URL(devnetUrl), password: '' } })
  t.match(parseChain('devnet:http://localhost:9/'), { kind: 'devnet' })
  const { kind, address } = parseChain('node:http://me:p%40ss%3A@example.org:8332')
  t.same(
    [kind, address.user, address.password, address.url.href],
    ['node', 'me', 'p@ss:', 'http://example.org:8332/'],
  )
  t.match(parseChain('arc:https://:key@arc.example'), { kind: 'arc', address: { password: 'key' } })

  for (const text of [
    '',
    'main',
    'node',
    'node:',
    'node:secret',
    'devnet:ftp://me:secret@h',
    'http://me:secret@h',
    'woc:http://h',
  ])
    t.throws(() => parseChain(text), malformed)
  for (const text of [
    'node:htp://me:secret@h',
    'nod:http://me:secret@h',
    'node:http://me:secret@h/?key=secret',
    'node:http://me:secret%zz@h',
  ]) {
    try {
      parseChain(text)
      t.fail(text)
    } catch (error) {
      t.notMatch(String((error as Error).stack), /secret/)
    }
  }
})

t.test('a devnet is opened as what it is, and as nothing else', async (t) => {
  const { url } = await openDevnet(t)

  const chain = await openChain({ chain: `devnet:${url}` })
  t.equal(chain.network, 'devnet')
  t.notMatch(chain.name, /pass|user/)
  await chain.close()
  const again = await openChain({ chain: `node:${url}`, network: 'devnet' })
  await again.close()

  await t.rejects(openChain({ chain: `devnet:${url}`, network: 'main' }), malformed)
  await t.rejects(openChain({ chain: 'devnet', network: 'test' }), malformed)
  for (const network of [undefined, 'main', 'test', 'regtest'])
    await t.rejects(openChain({ chain: `node:${url}`, ...(network && { network }) }), {
      ...other,
      message: /is on devnet/,
    })
  await t.rejects(openChain({ chain: `node:${url}`, network: 'stn' }), malformed)
  await t.rejects(openChain({ chain: `node:${url}`, network: 'devnet', headers: url }), malformed)
  const wrong = await openChain({ chain: `devnet:${url.replace('user', 'nobody')}` }).catch((error) => error)
  t.match(wrong, { code: 'ERR_CHAIN_UNAVAILABLE' })
  t.notMatch(wrong.message, /pass:|pass%|nobody/)
})

/** A node that knows nothing but the hashes of some blocks. */
const serveHashes = (t: any, hashes: Record<number, string>) =>
  serve(t, async (request, response) => {
    const { method, params, id } = JSON.parse(await bodyOf(request))
    const result = method === 'getblockhash' ? hashes[params[0]] : undefined
    const error = result === undefined ? { code: -8, message: 'Block height out of range' } : null
    response.end(JSON.stringify({ result: result ?? null, error, id }))
  })

t.test('a node is of the network whose first block it has', async (t) => {
  t.equal(genesisOf.devnet, devnetGenesis)
  for (const network of ['test', 'regtest'] as const) {
    const url = await serveHashes(t, { 0: genesisOf[network] })
    await (await openChain({ chain: `node:${url}`, network })).close()
    await t.rejects(openChain({ chain: `node:${url}` }), {
      ...other,
      message: new RegExp(`is on ${network}, not on main`),
    })
    await t.rejects(openChain({ chain: `devnet:${url}` }), other)
  }
  const main = { 0: genesisOf.main, [mainFork.height]: mainFork.hash }
  await (await openChain({ chain: `node:${await serveHashes(t, main)}` })).close()
  await t.rejects(openChain({ chain: `node:${await serveHashes(t, main)}`, network: 'test' }), other)

  const cash = await serveHashes(t, { ...main, [mainFork.height]: 'ab'.repeat(32) })
  await t.rejects(openChain({ chain: `node:${cash}` }), { ...other, message: /not BSV/ }, 'of another branch')
  const young = await serveHashes(t, { 0: genesisOf.main })
  await t.rejects(openChain({ chain: `node:${young}` }), { code: 'ERR_CHAIN_UNAVAILABLE' }, 'not yet there')
  const stranger = await serveHashes(t, { 0: 'cd'.repeat(32) })
  await t.rejects(openChain({ chain: `node:${stranger}` }), { ...other, message: /an unknown network/ })
  await t.rejects(openChain({ chain: `node:${await serveHashes(t, {})}` }), { code: 'ERR_CHAIN_UNAVAILABLE' })
})

t.test('ARC needs a service that knows the headers, and is of the network of these', async (t) => {
  const header = { version: 1, prevBlockHash: '0'.repeat(64), work: '1' }
  const test = {
    ...header,
    ...{
      hash: genesisOf.test,
      merkleRoot: '4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b',
    },
    ...{ creationTimestamp: 1296688602, difficultyTarget: 0x1d00ffff, nonce: 414098458 },
  }
  const url = await serve(t, (request, response) => {
    const isState = request.url?.includes('/state/')
    response.end(JSON.stringify(isState ? { header: test, state: 'LONGEST_CHAIN', height: 0 } : [test]))
  })
  const whatsOnChain = await serve(t, (_, response) => {
    const { version, merkleRoot: merkleroot, creationTimestamp: time, nonce } = test
    response.end(
      JSON.stringify({
        height: 0,
        confirmations: 9,
        version,
        merkleroot,
        time,
        nonce,
        bits: '1d00ffff',
        previousblockhash: '',
      }),
    )
  })
  const arc = 'arc:http://127.0.0.1:1'

  for (const headers of [url, `whatsonchain:${whatsOnChain}`]) {
    const chain = await openChain({ chain: arc, network: 'test', headers })
    t.equal(chain.network, 'test')
    t.notOk(chain.canScan)
    await chain.close()
    await t.rejects(openChain({ chain: arc, headers }), other)
  }
  await t.rejects(openChain({ chain: arc }), malformed)
  await t.rejects(openChain({ chain: arc, network: 'devnet', headers: url }), malformed)
  const error: any = await openChain({
    chain: 'arc:http://:secret@127.0.0.1:1',
    headers: 'woc:http://:secret@h',
  }).catch((e) => e)
  t.match(error, malformed)
  t.notMatch(error.message, /secret/)
})
