/** What Prometheus is told: exactly what was done, in bounded labels, and as docs/metrics.md lists it. */
import { deepEqual } from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { codes } from '../../market/errors.ts'
import { replies } from '../../contracts/api.ts'
import { control } from '../../relay/operator/control.ts'
import type { Sources } from '../../relay/figures.ts'
import { Metrics } from '../../relay/metrics.ts'
import { serveMetrics } from '../../relay/metrics-server.ts'
import { version } from '../../relay/version.ts'
import { openDevnet } from '../fixtures/chain.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { openStore } from '../fixtures/records.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'
import { actor, ask, askSigned, openSocket, post, postBatch, postSigned } from '../fixtures/wire.ts'
import { replyTo, sealFor, sealRecord } from '../fixtures/wire.ts'

const prices = ['--price', 'storageGBDay=4000000', '--price', 'egressGB=100000000']

/** A selling relay with metrics, closed when the test ends. A scrape comes a second later, when there is a new page. */
async function measuredRelay(t: Test, args: readonly string[] = prices, data = t.testdir()) {
  const clock = { ms: start }
  const now = () => clock.ms
  const relay = await startTestRelay(data, { args: [...args, '--metrics', '127.0.0.1:0'], now })
  t.teardown(() => relay.close())
  const scrape = async () => {
    clock.ms += 1000
    return samplesOf(await pageOf(relay.metricsUrl!))
  }
  return { ...relay, now, data, scrape, metricsUrl: relay.metricsUrl! }
}

async function pageOf(url: string): Promise<string> {
  const response = await fetch(url)
  const type = response.headers.get('content-type')
  deepEqual([response.status, type], [200, 'text/plain; version=0.0.4; charset=utf-8'])
  return response.text()
}

/** The relay's own samples, by name and labels. */
function samplesOf(page: string): Map<string, number> {
  const lines = page.split('\n').filter((line) => line.startsWith('relay_'))
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ')
      return [line.slice(0, space), Number(line.slice(space + 1))]
    }),
  )
}

/** What rose or fell of what is only counted, and by how much. Times and sums of the ledger are told elsewhere. */
function changes(before: Map<string, number>, after: Map<string, number>): Record<string, number> {
  const counted = /^relay_(?!ledger|.*_bucket|.*_seconds_sum|disk|replay)/
  return Object.fromEntries(
    [...after]
      .map(([name, value]) => [name, value - (before.get(name) ?? Number.NaN)] as const)
      .filter(([name, change]) => counted.test(name) && change !== 0),
  )
}

const requests = (type: string, code: string) => `relay_requests_total{type="${type}",code="${code}"}`
const durations = (type: string) => `relay_request_duration_seconds_count{type="${type}"}`

t.test('counters rise by exactly what was done', async (t) => {
  const relay = await measuredRelay(t)
  const [alice, bob, stranger] = [actor(), actor(), actor()]
  await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000 })
  const before = await relay.scrape()

  const record = await sealRecord(relay, alice, bob, { content: Buffer.alloc(700) })
  await postSigned(relay, record)
  const written = await relay.scrape()
  t.same(changes(before, written), {
    [requests('write', 'ok')]: 1,
    [durations('write')]: 1,
    relay_records_written_total: 1,
    relay_records_written_bytes_total: 700,
    relay_promised_bytes: 1212,
    relay_commit_duration_seconds_count: 1,
    relay_commit_operations_sum: 1,
    relay_commit_operations_count: 1,
  })

  await postSigned(relay, record)
  const read = await sealFor(relay, bob, { type: 'read', path: record.path })
  t.equal((await post(relay.url, read.text)).text, record.text)
  t.equal((await post(relay.url, read.text)).text, record.text)
  await askSigned(relay, stranger, { type: 'quote', bytes: 1000, ttl: 3600, maxPulls: 1 })
  const unpaid = await sealRecord(relay, stranger, bob)
  t.match(await postSigned(relay, unpaid), { code: 'ERR_PAYMENT_REQUIRED' })
  const served = await relay.scrape()
  t.same(changes(written, served), {
    [requests('write', 'ok')]: 1,
    [requests('write', 'ERR_PAYMENT_REQUIRED')]: 1,
    [durations('write')]: 2,
    [requests('read', 'ok')]: 2,
    [durations('read')]: 2,
    [requests('quote', 'ok')]: 1,
    [durations('quote')]: 1,
    relay_records_served_total: 2,
    relay_records_served_bytes_total: 1400,
    relay_commit_duration_seconds_count: 1,
    relay_commit_operations_sum: 1,
    relay_commit_operations_count: 1,
  })

  const again = await sealRecord(relay, alice, bob)
  const forged = again.text.replace(/"sig":"30/, '"sig":"31')
  const stale = await sealFor(relay, bob, { type: 'read', path: record.path }, { timestamp: 1 })
  await postBatch(relay.url, [again.text, forged, stale.text])
  await postBatch(relay.url, [])
  await post(relay.url, '')
  await fetch(`${relay.url}/elsewhere`)
  const batched = changes(served, await relay.scrape())
  t.match(batched, {
    [requests('write', 'ok')]: 1,
    [durations('unadmitted')]: 2,
    [requests('unadmitted', 'ERR_STALE')]: 1,
    'relay_batches_total{code="ok"}': 1,
    'relay_batches_total{code="ERR_MALFORMED"}': 1,
    'relay_http_refusals_total{code="ERR_MALFORMED"}': 1,
    'relay_http_refusals_total{code="ERR_NOT_FOUND"}': 1,
    relay_records_written_total: 1,
    relay_records_written_bytes_total: 200,
  })
})

t.test('the money is that of the ledger, as relayd status says it', async (t) => {
  const relay = await measuredRelay(t)
  const [alice, bob] = [actor(), actor()]
  await relay.operator.grant({ key: alice.identity, satoshi: 2_000_000 })
  await relay.operator.revoke({ key: alice.identity, satoshi: 500 })
  const record = await sealRecord(relay, alice, bob, { content: Buffer.alloc(20_000), maxPulls: 3 })
  await postSigned(relay, record)
  await ask(relay, bob, { type: 'read', path: record.path })

  const samples = await relay.scrape()
  const status = (await control(join(relay.data, 'control.json'), 'status')) as any
  const { ledger } = status
  t.equal(status.metricsUrl, relay.metricsUrl)
  const sums = { received: '_total', returned: '_total', earned: '_total', reserved: '', available: '' }
  for (const [name, suffix] of Object.entries(sums)) {
    t.equal(samples.get(`relay_ledger_${name}_satoshi${suffix}`), ledger[name], name)
    t.ok(ledger[name] > 0, `${name} is not nothing`)
  }
  t.equal(ledger.received, ledger.returned + ledger.earned + ledger.reserved + ledger.available)
  t.equal(samples.get('relay_ledger_purses'), ledger.purses)
  t.equal(samples.get('relay_ledger_entries_total'), ledger.entries)
  for (const [price, satoshi] of Object.entries({ storageGBDay: 4e6, egressGB: 1e8, ingressGB: 0 }))
    t.equal(samples.get(`relay_price_satoshi{price="${price}"}`), satoshi)
  await relay.operator['set-prices']({ egressGB: 7 })
  t.equal((await relay.scrape()).get('relay_price_satoshi{price="egressGB"}'), 7)
})

t.test('sockets, subscriptions and pushes are told, and who has left is not', async (t) => {
  const relay = await measuredRelay(t, ['--open'])
  const [alice, bob] = [actor(), actor()]
  const socket = await openSocket(relay.url)
  const listen = await sealFor(relay, bob, { type: 'listen', afterTs: 0 })
  socket.send(listen.text)
  replyTo(relay, listen, JSON.stringify(await socket.next()))
  t.match(await socket.next(), { push: { live: true } })
  await postSigned(relay, await sealRecord(relay, alice, bob))
  t.match(await socket.next(), { push: { records: [] } })

  const open = await relay.scrape()
  t.equal(open.get('relay_sockets'), 1)
  t.equal(open.get('relay_subscriptions'), 1)
  t.equal(open.get('relay_pushes_total'), 2)
  t.equal(open.get('relay_replay_entries'), 1)
  t.equal(open.get('relay_in_flight_bytes'), 0)
  t.equal(open.get('relay_max_sockets'), 20_000)
  socket.close()
  await socket.closed
  let after: Map<string, number>
  do after = await relay.scrape()
  while (after.get('relay_sockets') !== 0)
  t.equal(after.get('relay_subscriptions'), 0)
  t.equal(after.get('relay_pushes_total'), 2)
})

t.test('strangers who send nonsense make no new series', async (t) => {
  const relay = await measuredRelay(t)
  const before = await relay.scrape()
  const stranger = actor()
  const nonsense = [
    'constructor',
    '{"msg":{"request":{"type":"__proto__"}}}',
    '["a",{"msg":{"request":{"type":"x\\n\\"y"}}}]',
    '{',
    '\u0000',
    (await sealFor(relay, stranger, { type: 'toString' })).text,
    (await sealFor(relay, stranger, { type: 'unadmitted' })).text,
    (await sealFor(relay, stranger, { type: 'read', path: 'x' }, { to: stranger.identity })).text,
  ]
  for (const text of nonsense) await post(relay.url, text)
  await fetch(`${relay.url}/metrics/../%00`)

  const after = await relay.scrape()
  t.strictSame([...after.keys()], [...before.keys()])
  const types = [...Object.keys(replies), 'unadmitted'].sort()
  const outcomes = ['ok', ...Object.keys(codes)].sort()
  const labels = [...after.keys()].flatMap((name) => [
    ...name.matchAll(/^relay_requests_total\{type="(.*)",code="(.*)"\}$/g),
  ])
  t.strictSame([...new Set(labels.map(([, type]) => type))].sort(), types)
  t.strictSame([...new Set(labels.map(([, , code]) => code))].sort(), outcomes)
  const sum = (pattern: RegExp) =>
    [...after].reduce((all, [name, value]) => (pattern.test(name) ? all + value : all), 0)
  t.equal(sum(/^relay_requests_total\{type="unadmitted"/), nonsense.length - 1)
  t.equal(sum(/^relay_requests_total/), nonsense.length - 1)
  t.equal(after.get('relay_batches_total{code="ERR_MALFORMED"}'), 1)
})

t.test('two relays of one process count apart', async (t) => {
  const folder = t.testdir()
  const one = await measuredRelay(t, ['--open'], join(folder, 'one'))
  const other = await measuredRelay(t, ['--open'], join(folder, 'other'))
  const before = await other.scrape()
  const [alice, bob] = [actor(), actor()]
  await postSigned(one, await sealRecord(one, alice, bob))

  t.equal((await one.scrape()).get(requests('write', 'ok')), 1)
  t.same(changes(before, await other.scrape()), {})
})

t.test('the page is on its own port, alone, and goes with its relay', async (t) => {
  const relay = await measuredRelay(t, ['--open'])
  t.match(relay.metricsUrl, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
  const { origin } = new URL(relay.metricsUrl)
  for (const path of ['/', '/health', '/metrics/', '/metrics/more'])
    t.equal((await fetch(`${origin}${path}`)).status, 404, path)
  for (const method of ['POST', 'HEAD', 'PUT'])
    t.equal((await fetch(relay.metricsUrl, { method })).status, 404, method)
  t.equal((await fetch(`${relay.metricsUrl}?format=text`)).status, 200)
  t.equal((await fetch(`${relay.url}/metrics`)).status, 404)
  t.equal((await relay.scrape()).get(`relay_build_info{version="${version}"}`), 1)

  const taken = ['--open', '--metrics', new URL(origin).host]
  await t.rejects(startTestRelay(join(relay.data, 'other'), { args: taken }), {
    code: 'ERR_CONFLICT',
    message: `another program listens on ${new URL(origin).host}; choose another with --metrics HOST:PORT`,
  })
  t.notOk(existsSync(join(relay.data, 'other', 'store')))
  await relay.close()
  await t.rejects(fetch(relay.metricsUrl))
})

t.test('a page is made once a second for all who ask, and one for each connection', async (t) => {
  let [made, now] = [0, 0]
  const deps = {
    page: async () => `page ${++made}\n`.padEnd(100_000),
    monotonic: () => now,
    onError: (error: unknown) => t.fail(String(error)),
  }
  const served = await serveMetrics({ host: '127.0.0.1', port: 0 }, deps)
  t.teardown(() => served.close())
  const { port } = served.address
  const first = async () => (await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).trim()

  t.same(await Promise.all([first(), first(), first()]), ['page 1', 'page 1', 'page 1'])
  now += 999
  t.equal(await first(), 'page 1')
  now += 1
  t.equal(await first(), 'page 2')

  const socket = connect(port, '127.0.0.1').on('error', () => {})
  let received = 0
  socket.on('data', (chunk) => {
    received += chunk.length
  })
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(1000))
  await closed
  t.ok(received < 200_000, 'at most one page came')
})

t.test('on the loopback the page is for those who ask for it by a name of this machine', async (t) => {
  const deps = {
    page: async () => 'page',
    monotonic: () => 0,
    onError: (error: unknown) => t.fail(String(error)),
  }
  const status = async (port: number, host: string) => {
    const call = request({ port, host: '127.0.0.1', path: '/metrics', headers: { host } }).end()
    const [response] = await once(call, 'response')
    response.resume()
    return response.statusCode
  }
  const local = await serveMetrics({ host: '127.0.0.1', port: 0 }, deps)
  t.teardown(() => local.close())
  for (const host of ['localhost', 'LOCALHOST:1', `127.0.0.1:${local.address.port}`, '[::1]:80', '127.0.0.2'])
    t.equal(await status(local.address.port, host), 200, host)
  for (const host of [
    'evil.example',
    'evil.example:9',
    'localhost.evil.example',
    '192.0.2.1',
    '127.0.0.1.evil',
  ])
    t.equal(await status(local.address.port, host), 403, host)
  const everywhere = await serveMetrics({ host: '0.0.0.0', port: 0 }, deps)
  t.teardown(() => everywhere.close())
  t.equal(await status(everywhere.address.port, 'relay.example:9100'), 200)
})

t.test('without --metrics there is no page', async (t) => {
  const data = t.testdir()
  const relay = await startTestRelay(data)
  t.teardown(() => relay.close())

  t.equal(relay.metricsUrl, undefined)
  t.match(await control(join(data, 'control.json'), 'status'), { metricsUrl: null })
  t.equal((await fetch(`${relay.url}/metrics`)).status, 404)
})

t.test('trouble is told, and the last sums stand while the store cannot be read', async (t) => {
  const ledger = { purses: 1, entries: 2, received: 9, returned: 1, earned: 2, reserved: 3, available: 3 }
  const summary = { prices: { storageGBDay: 1, egressGB: 2, ingressGB: 3 }, nextPrices: null, ledger }
  const now = { state: 'ready', trouble: undefined as string | undefined, sweeper: 'running' }
  const asked = { summary: () => summary }
  const page = new Metrics().page({
    operator: { summary: () => asked.summary() },
    config: { limits: { connections: 1, bodiesInFlightBytes: 2, replay: 3 }, minFreeDiskBytes: 4 },
    store: {
      get state() {
        return now.state
      },
      waiting: { operations: 5, bytes: 6 },
    },
    service: { remembered: 7 },
    sweeper: {
      get state() {
        return { state: now.sweeper }
      },
    },
    disk: { free: 8 },
    capacity: { state: { bytes: 9, sold: 3, free: 6 } },
    clock: {
      get trouble() {
        return now.trouble
      },
    },
    hub: { counts: { subscriptions: 0, pushes: 0 } },
    sockets: { count: 0 },
    budget: { heldBytes: 0 },
    trouble: () => now.trouble,
  } as unknown as Sources)
  const flags = ['relay_healthy', 'relay_clock_trouble', 'relay_sweeper_waiting']
  const states = ['ready', 'recovering', 'failed'].map((state) => `relay_store_state{state="${state}"}`)
  const seen = async () => {
    const samples = samplesOf(await page())
    t.equal(samples.get('relay_ledger_received_satoshi_total'), 9)
    return [...flags, ...states].map((name) => samples.get(name))
  }

  t.same(await seen(), [1, 0, 0, 1, 0, 0])
  asked.summary = () => {
    throw new Error('cannot be read')
  }
  Object.assign(now, { state: 'recovering', trouble: 'the clock jumped', sweeper: 'waiting' })
  t.same(await seen(), [0, 1, 1, 0, 1, 0])
  now.state = 'failed'
  t.same(await seen(), [0, 1, 1, 0, 0, 1])

  now.state = 'ready'
  const errors: unknown[] = []
  const onError = (error: unknown) => errors.push(error)
  const served = await serveMetrics({ host: '127.0.0.1', port: 0 }, { page, monotonic: () => 0, onError })
  t.teardown(() => served.close())
  const { status } = await fetch(`http://127.0.0.1:${served.address.port}/metrics`)
  t.equal(status, 500)
  t.match(errors, [{ message: 'cannot be read' }])
})

t.test('a commit is counted when it is durable, and as a failure when it could not be written', async (t) => {
  const told: string[] = []
  const observer = {
    commit: (operations: number, seconds: number) => told.push(`${operations}, ${seconds > 0}`),
    commitFailed: () => told.push('failed'),
    written() {},
    served() {},
  }
  const disk = faultyDisk()
  const states = new EventEmitter()
  const onState = (state: string) => void states.emit(state)
  const options = { openDatabase: disk.open, reopenDelaysMs: [0], onState, observer }
  const store = await openStore(t, { directory: t.testdir(), ...options })
  const put = () => store.commit((batch) => batch.put(Buffer.from('~a'), Buffer.from('1')))

  const { reached, release } = disk.hold()
  const both = [put(), put()]
  await reached
  const third = put()
  t.same([told, store.waiting], [[], { operations: 1, bytes: 0 }])
  release()
  await Promise.all([...both, third])
  await store.commit((batch) => batch.get(Buffer.from('~a')))
  t.same([told, store.waiting], [['2, true', '1, true'], { operations: 0, bytes: 0 }])

  disk.fail = 'before'
  const ready = once(states, 'ready')
  await t.rejects(put(), { code: 'ERR_INTERNAL' })
  await ready
  t.same(told.slice(2), ['failed'])
})

t.test('docs/metrics.md lists what the page shows, and nothing else', async (t) => {
  const devnet = await openDevnet(t)
  const relay = await measuredRelay(t, [...prices, '--chain', `devnet:${devnet.url}`])
  // What a command tells of the coins is on the next page.
  await control(join(relay.data, 'control.json'), 'wallet-faucet', { satoshis: 777 })
  const balance = await control(join(relay.data, 'control.json'), 'wallet-balance')
  t.match(balance, { unconfirmed: 777 })
  const page = await pageOf(relay.metricsUrl)
  const ofCoins = (name: string, ...labels: string[]) =>
    samplesOf(page).get(`${name}{${['network="devnet"', ...labels].join(',')}}`)
  t.equal(ofCoins('relay_chain_height'), devnet.node.chain.tip.height)
  t.equal(ofCoins('relay_chain_silence_seconds'), 0)
  const kinds = ['confirmed', 'unconfirmed', 'reserved']
  t.same(
    kinds.map((kind) => ofCoins('relay_wallet_satoshi', `kind="${kind}"`)),
    [0, 777, 0],
  )
  const shown = [...page.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  const docs = readFileSync('docs/metrics.md', 'utf8')
  const rows = [...docs.matchAll(/^\| `([a-z_0-9]+)` \| (\w+) \| [^|]* \| ([^|]*)\|/gm)]
  // What the runtime tells depends on the system.
  const here = (line: string) => process.platform === 'linux' || line.startsWith('relay_')

  t.strictSame(
    rows
      .map(([, name, type]) => `${name} ${type}`)
      .filter(here)
      .sort(),
    shown.filter(here).sort(),
  )
  const samples = [...samplesOf(page).keys()]
  for (const [, name = '', , labels = ''] of rows.filter(([, name]) => name?.startsWith('relay_'))) {
    const those = samples.filter((sample) => new RegExp(`^${name}(_bucket|_sum|_count)?(\\{|$)`).test(sample))
    const found = those.flatMap((sample) => [...sample.matchAll(/[{,](\w+)="/g)].map(([, label]) => label))
    const listed = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label)
    t.strictSame(new Set(found.filter((label) => label !== 'le')), new Set(listed), `labels of ${name}`)
  }
  for (const [name] of docs.matchAll(/\b(?:relay|process|nodejs)_[a-z0-9_]+\b/g))
    t.ok(page.includes(`\n${name}`) || page.includes(` ${name} `), `${name} is a metric`)
})
