/** The board of a relay (docs/protocol.md §12.5): what it takes, keeps and tells, over real sockets. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { canonicalize } from '../../market/canonical.ts'
import { openChannel } from '../../market/channels/open.ts'
import { AdvertLive } from '../../relay/market/advert-live.ts'
import { outside } from '../../relay/market/outside.ts'
import { patience, Publishing } from '../../relay/market/publishing.ts'
import type { RunningRelay } from '../../relay/relay.ts'
import { advertiser, cheapBits, hourMs, lifeMs, makeAdvert } from '../fixtures/adverts.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'

const args = ['--open', '--limit', `advertBits=${cheapBits}`]

async function openBoard(t: Test, more: readonly string[] = []) {
  const clock = { ms: start }
  const now = () => clock.ms
  const data = t.testdir()
  const opened = { relay: await startTestRelay(data, { now, args: [...args, ...more] }) }
  t.teardown(() => opened.relay.close())
  const again = async () => {
    await opened.relay.close()
    opened.relay = await startTestRelay(data, { now, args: [...args, ...more] })
  }
  return { opened, clock, now, again }
}

async function post(
  { url }: RunningRelay,
  text: string,
): Promise<{ status: number; [name: string]: unknown }> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/adverts`, { method: 'POST', body: text, headers })
  return { ...((await response.json()) as object), status: response.status }
}

interface Page {
  adverts: unknown[]
  cursor: string
  more: boolean
  code?: string
}

async function page({ url }: RunningRelay, query = ''): Promise<Page & { texts: string[] }> {
  const response = await fetch(`${url}/adverts${query}`)
  const found = (await response.json()) as Page
  return { ...found, texts: (found.adverts ?? []).map(canonicalize) }
}

async function channelOf({ url }: RunningRelay, now: () => number) {
  return openChannel(`board:${url}`, outside({ now }))
}

t.test(
  '§12.5: what is posted is listed in the order it came, page by page, by network, and lives on',
  async (t) => {
    const { opened, clock, now, again } = await openBoard(t)
    const networks = ['main', 'test', null, 'main'] as const
    const made = await Promise.all(
      networks.map((network, index) =>
        makeAdvert(advertiser(index + 1), start, {
          network,
          ...(network === null && {
            storageCostPerGigPerDay: 0,
            bandwidthCostPerGig: 0,
            ingressCostPerGig: 0,
          }),
        }),
      ),
    )
    const texts = made.map(({ text }) => text)
    for (const text of texts) t.match(await post(opened.relay, text), { status: 200, outcome: 'added' })
    t.match(await post(opened.relay, texts[0]!), { status: 200, outcome: 'known' })

    t.same((await page(opened.relay)).texts, texts)
    const first = await page(opened.relay, '?limit=3')
    t.match(first, { more: true, texts: texts.slice(0, 3) })
    const second = await page(opened.relay, `?cursor=${first.cursor}`)
    t.match(second, { more: false, texts: texts.slice(3) })
    t.same((await page(opened.relay, `?cursor=${second.cursor}`)).texts, [], 'and goes on from there later')
    t.same(
      (await page(opened.relay, '?network=test')).texts,
      [texts[1], texts[2]],
      'who takes no coins is for all',
    )
    const response = await fetch(`${opened.relay.url}/adverts`)
    t.equal(response.headers.get('access-control-allow-origin'), '*')
    for (const wrong of ['?limit=0', '?limit=257', '?network=moon', '?cursor=x', '?other=1'])
      t.match(await page(opened.relay, wrong), { code: 'ERR_MALFORMED' }, wrong)
    t.match(await page(opened.relay, `?cursor=${'0'.repeat(16)}.5`), { code: 'ERR_EXPIRED' })

    await again()
    t.same((await page(opened.relay)).texts, texts, 'after a restart')
    const later = await makeAdvert(advertiser(1), start + 600_000)
    clock.ms = start + 600_000
    t.match(await post(opened.relay, later.text), { outcome: 'replaced' })
    t.match(await post(opened.relay, texts[0]!), { status: 200, outcome: 'older' })
    t.same(
      (await page(opened.relay, `?cursor=${second.cursor}`)).texts,
      [later.text],
      'what is new comes last',
    )
    const channel = await channelOf(opened.relay, now)
    const read: string[] = []
    for await (const text of channel.read()) read.push(text)
    t.same(read, [...texts.slice(1), later.text], 'the channel reads the same bytes')

    clock.ms = start + 24 * hourMs
    t.same((await page(opened.relay)).texts, [later.text], 'what has expired is not listed')
    await again()
    t.same((await page(opened.relay)).texts, [later.text])
  },
)

t.test(
  '§12.5: it refuses with codes what no reader would take, and says what it knows of a revoked relay',
  async (t) => {
    const { opened, clock } = await openBoard(t)
    const signer = advertiser(1)
    const { relay } = opened
    const good = await makeAdvert(signer, start)
    const { text: weak } = await makeAdvert(signer, start, {}, { bits: 0, below: cheapBits })

    t.match(await post(relay, weak), { status: 429, code: 'ERR_LIMIT', bits: cheapBits })
    t.match(
      await post(relay, good.text.replace('4000', '4001')),
      { code: 'ERR_LIMIT' },
      'another text, another stamp',
    )
    t.match(await post(relay, good.text.replace('"seq"', ' "seq"')), { status: 400, code: 'ERR_MALFORMED' })
    t.match(await post(relay, good.text + ' '.repeat(4096)), { status: 413, code: 'ERR_TOO_LARGE' })
    t.match(await post(relay, ''), { code: 'ERR_MALFORMED' })
    const future = await makeAdvert(signer, start + 600_001)
    t.match(await post(relay, future.text), { code: 'ERR_STALE' })
    const forged = good.text.replace(/"signature":"30.*?"/, `"signature":"${future.advert.signature}"`)
    t.match(await post(relay, forged), { status: 401, code: 'ERR_BAD_SIGNATURE' })
    const old = await makeAdvert(signer, start - 25 * hourMs)
    t.match(await post(relay, old.text), { status: 410, code: 'ERR_EXPIRED' })
    t.match(await post(relay, good.text), { outcome: 'added' })

    const hasty = await makeAdvert(signer, start + 1000)
    clock.ms += 1000
    t.match(
      await post(relay, hasty.text),
      { status: 429, retryAfterMs: 599_000 },
      'not more often than each ten minutes',
    )
    const revocation = await makeAdvert(signer, clock.ms, { expires: clock.ms })
    t.match(await post(relay, revocation.text), { outcome: 'replaced' }, 'a revocation need not wait')
    t.match(await post(relay, good.text), { outcome: 'older' })
    t.same((await page(relay)).texts, [revocation.text], 'whoever reads learns of it')
    clock.ms += lifeMs + 600_000
    t.same((await page(relay)).texts, [])
    const blocked = await Promise.all(Array.from({ length: 130 }, () => post(relay, 'x')))
    t.match(blocked.at(-1), { status: 429, code: 'ERR_LIMIT' })
    t.type(blocked.at(-1)?.retryAfterMs, 'number')
  },
)

t.test('§12.5: a full board drops what cost least work, then what is oldest, on disk too', async (t) => {
  const { opened, clock, again } = await openBoard(t, ['--limit', 'adverts=3'])
  const exactly = (bits: number) => ({ bits, below: bits + 1 })
  const made = await Promise.all(
    [8, 6, 6].map((bits, index) => makeAdvert(advertiser(index + 1), start + index, {}, exactly(bits))),
  )
  clock.ms += 10
  for (const { text } of made) t.match(await post(opened.relay, text), { outcome: 'added' })
  const older = await makeAdvert(advertiser(4), start, {}, exactly(6))
  t.match(await post(opened.relay, older.text), { status: 503, code: 'ERR_BUSY' }, 'older than the oldest')
  const newer = await makeAdvert(advertiser(5), start + 5, {}, exactly(6))
  t.match(await post(opened.relay, newer.text), { outcome: 'added' })
  const harder = await makeAdvert(advertiser(6), start, {}, exactly(7))
  t.match(await post(opened.relay, harder.text), { outcome: 'added' })

  const left = [made[0]!.text, newer.text, harder.text]
  t.same((await page(opened.relay)).texts, left)
  await again()
  t.same((await page(opened.relay)).texts, left)
})

t.test('§12.5: what is new is pushed to whoever listens, and to nobody who talks', async (t) => {
  const { opened, now } = await openBoard(t)
  const { relay } = opened
  const leaving = new AbortController()
  const channel = await channelOf(relay, now)
  const heard = channel.follow?.(leaving.signal)[Symbol.asyncIterator]()
  const next = heard?.next()
  const elsewhere = new WebSocket(`${relay.url.replace('http', 'ws')}/adverts/live?network=test`)
  const other: string[] = []
  elsewhere.on('message', (data) => other.push(String(data)))
  await once(elsewhere, 'open')
  // Until the other listener is there too.
  const talker = new WebSocket(`${relay.url.replace('http', 'ws')}/adverts/live`)
  await once(talker, 'open')
  const ended = once(talker, 'close')
  talker.send('!')
  t.same((await ended)[0], 1008)
  const wrong = new WebSocket(`${relay.url.replace('http', 'ws')}/adverts/live?network=moon`)
  t.match(await once(wrong, 'error').catch((error) => [error]), [{ message: /400/ }])

  const first = await makeAdvert(advertiser(1), start)
  await post(relay, first.text)
  t.equal((await next)?.value, first.text)
  const second = await makeAdvert(advertiser(2), start, { network: 'test' })
  await post(relay, second.text)
  t.equal((await heard?.next())?.value, second.text)
  if (other.length === 0) await once(elsewhere, 'message')
  t.same(other, [second.text])
  leaving.abort()
  t.match(await heard?.next(), { done: true })

  const parted = once(elsewhere, 'close')
  await relay.close()
  t.equal((await parted)[0], 1001)
  await t.rejects(channel.publish(first.text), { code: 'ERR_BUSY' })
})

t.test('§12.5: a listener who does not read is let go, and one address has so many', async (t) => {
  const taken: ((text: string, network: null) => void)[] = []
  const live = new AdvertLive({
    onTaken(listener) {
      taken.push(listener)
      return () => {}
    },
  })
  const server = createServer()
  const refused: string[] = []
  server.on('upgrade', (request, socket, head) => {
    const status = live.upgrade(request, socket, head, 'somewhere')
    if (status !== undefined) socket.end(`HTTP/1.1 ${status}\r\n\r\n`)
    if (status !== undefined) refused.push(status)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const open = () => new WebSocket(`ws://127.0.0.1:${port}/adverts/live`)
  const [slow, brisk] = [open(), open()]
  await Promise.all([slow, brisk].map((socket) => once(socket, 'open')))
  let heard = 0
  brisk.on('message', () => {
    heard += 1
  })
  slow.pause()
  const text = 'x'.repeat(4096)
  let told = 0
  for (; live.count === 2 && told < 100_000; told += 64) {
    for (let index = 0; index < 64; index++) taken[0]?.(text, null)
    await new Promise((resolve) => setImmediate(resolve))
    while (heard < told + 64) await once(brisk, 'message')
  }
  t.equal(live.count, 1)
  t.equal(heard, told, 'the other one missed nothing')

  const others = Array.from({ length: 15 }, open)
  await Promise.all(others.map((socket) => once(socket, 'open')))
  t.match(await once(open(), 'error').catch((error) => [error]), [{ message: /429/ }])
  t.same(refused, ['429 Too Many Requests'])
  slow.terminate()
  await live.close()
  t.equal(live.count, 0)
  await new Promise((resolve) => server.close(resolve))
})

t.test('§12.5: slow readers hold no more than there is room for', async (t) => {
  const small = { recordBytes: 1000, bodiesInFlightBytes: 6000 }
  const { opened } = await openBoard(
    t,
    Object.entries(small).flatMap(([name, most]) => ['--limit', `${name}=${most}`]),
  )
  for (const number of [1, 2, 3])
    t.match(await post(opened.relay, (await makeAdvert(advertiser(number), start)).text), { status: 200 })
  t.equal((await page(opened.relay, '?limit=2')).texts.length, 2)
  t.match(await page(opened.relay), { code: 'ERR_BUSY' })
})

t.test(
  'a board that refuses for ever, in letters that move a cursor, is asked again and not obeyed',
  async (t) => {
    const server = createServer((_, response) => {
      const description = `no\u001b[2J\nnever${'!'.repeat(1000)}`
      response.writeHead(429).end(JSON.stringify({ code: 'ERR_LIMIT', description, retryAfterMs: 1e300 }))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const name = `board:http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const warnings: object[] = []
    const publishing = new Publishing({
      ...{ name, now: () => start, signal: new AbortController().signal },
      log: { warn: (facts: object) => void warnings.push(facts) },
      open: () => openChannel(name, outside({ now: () => start })),
    })
    await publishing.publish(await makeAdvert(advertiser(1), start))
    const { error, retryAt } = publishing.outcomeOf(undefined)
    t.match(error, /^ERR_LIMIT: no \[2J never!{3,200}$/)
    t.equal(retryAt, start + patience.mostMs)
    publishing.hurry()
    await publishing.publish(await makeAdvert(advertiser(1), start))
    t.match(warnings, [{ channel: name }], 'the log says it once')
    t.equal(warnings.length, 1)
  },
)

t.test('§12.5: a relay may do without', async (t) => {
  const { opened } = await openBoard(t, ['--no-board'])
  const { url } = opened.relay
  t.match(await post(opened.relay, '{}'), { status: 404, code: 'ERR_NOT_FOUND' })
  const info = (await (await fetch(`${url}/.well-known/relay`)).json()) as {
    features: string[]
    advert: unknown
  }
  t.notOk(info.features.includes('adverts'))
  t.equal(info.advert, null)
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write('GET /adverts/live HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1.1 404/)
  socket.destroy()
})
