/** Mutual authentication over HTTP: what it costs a server to check a request and to prove its answer. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type IncomingHttpHeaders, request as httpRequest } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { z } from 'zod'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { fromHex, toHex } from '../market/bytes.ts'
import { Key } from '../market/units.ts'
import { addWebAuth, authProtocol } from '../relay/web/auth.ts'
import { requestDigest, requestFields, responseDigest, responseFields } from '../relay/web/preimage.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'

const targetMicros = 350
const concurrency = 16
const clients = 8
const kib = 1024
const warmUp = 2000
const perRound = 8000
const handshakes = 4000
/** One signature in this many is checked. */
const sampled = 50
const unlimited = 100_000_000

const Ready = z.object({ url: z.url(), key: Key })
const Usage = z.object({ micros: z.number() })
const Opened = z.object({ initialNonce: z.string() })

/** The server: in a process of its own, so that what asking costs is not counted. */
async function serve(): Promise<void> {
  const app = Fastify()
  const wallet = KeyWallet.random()
  const limits = { handshakesPerMinute: unlimited, nonces: unlimited, noncesPerSession: unlimited }
  const auth = addWebAuth(app, { wallet, now: Date.now, trustProxy: false, limits })
  app.get('/cpu', () => {
    const { user, system } = process.cpuUsage()
    return { micros: user + system }
  })
  app.get('/who', (request) => ({ identity: auth.requireIdentity(request) }))
  app.post('/who', (request) => ({ identity: auth.requireIdentity(request) }))
  app.get('/open', () => ({ identity: null }))
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  process.stdout.write(`${JSON.stringify({ url, key: wallet.identity })}\n`)
  // The bench holds the other end of this pipe: when it is gone, so are we.
  process.stdin.resume().once('end', () => process.exit(0))
}

interface Server {
  readonly url: string
  readonly key: Key
}

async function withServer<T>(bench: Bench, work: (server: Server) => Promise<T>): Promise<T> {
  const profiling = bench.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', bench.profile]
  const self = fileURLToPath(import.meta.url)
  const child = spawn(process.execPath, [...profiling, self, 'serve'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  try {
    return await work(await ready(child))
  } finally {
    child.stdin?.end()
    await exited
  }
}

async function ready(child: ChildProcess): Promise<Server> {
  for await (const line of createInterface(child.stdout!)) return Ready.parse(JSON.parse(line)) // piped above
  throw new Error('the server ended before it was ready')
}

interface Asked {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: Buffer
  /** What the answer must be, and proves it. */
  check?(answer: { status: number; headers: IncomingHttpHeaders; body: Buffer }): void
}

class Client {
  readonly wallet = KeyWallet.random()
  readonly #peerNonce = randomBytes(48).toString('base64')
  #session = ''

  get message(): Buffer {
    const { identity } = this.wallet
    const fields = { messageType: 'initialRequest', identityKey: identity, initialNonce: this.#peerNonce }
    return Buffer.from(JSON.stringify({ version: '0.1', ...fields }))
  }

  async open({ url }: Server): Promise<this> {
    const response = await fetch(`${url}/.well-known/auth`, { method: 'POST', body: this.message })
    this.#session = Opened.parse(await response.json()).initialNonce
    return this
  }

  ask({ key }: Server, place: number, body?: Buffer): Asked {
    const method = body === undefined ? 'GET' : 'POST'
    const path = '/who?a=1'
    const requestId = randomBytes(32)
    const nonce = randomBytes(32).toString('base64')
    const fields = { 'x-bsv-a': 'b', ...(body && { 'content-type': 'application/json' }) }
    const preimage = { requestId, method, url: path, fields: requestFields(fields) }
    const name = { protocolID: authProtocol, counterparty: key }
    const { sign } = this.wallet.signatures({ ...name, keyID: `${nonce} ${this.#session}` })
    const proof = {
      'x-bsv-auth-version': '0.1',
      'x-bsv-auth-identity-key': this.wallet.identity,
      'x-bsv-auth-nonce': nonce,
      'x-bsv-auth-your-nonce': this.#session,
      'x-bsv-auth-signature': toHex(sign(requestDigest(preimage, body ?? Buffer.alloc(0)))),
      'x-bsv-auth-request-id': requestId.toString('base64'),
    }
    return {
      method,
      path,
      headers: { ...fields, ...proof },
      ...(body && { body }),
      check: ({ status, headers, body: answered }) => {
        if (!answered.includes(this.wallet.identity)) throw new Error(`another answer: ${answered}`)
        if (place % sampled !== 0) return
        const digest = responseDigest({ requestId, status, fields: responseFields(headers) }, answered)
        const keyID = `${headers['x-bsv-auth-nonce']} ${this.#peerNonce}`
        const { verify } = this.wallet.signatures({ ...name, keyID })
        const good = verify(fromHex(String(headers['x-bsv-auth-signature'])), digest)
        if (!good) throw new Error('an answer that is not signed')
      },
    }
  }
}

async function load(
  server: Server,
  what: string,
  asked: readonly Asked[],
): Promise<Figure & { cpuMicros: number }> {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency })
  const latenciesMs = new Float64Array(asked.length)
  let next = 0
  const work = async (): Promise<void> => {
    for (let index = next++; index < asked.length; index = next++) {
      const began = performance.now()
      const answer = await exchange(server, agent, asked[index]!)
      latenciesMs[index] = performance.now() - began
      if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.body}`)
      asked[index]!.check?.(answer)
    }
  }
  const cpuBefore = await cpuOf(server)
  const began = performance.now()
  await Promise.all(Array.from({ length: concurrency }, work))
  const wallMs = performance.now() - began
  const cpuMicros = (await cpuOf(server)) - cpuBefore
  agent.destroy()
  return {
    what,
    operations: asked.length,
    opsPerSecond: (asked.length / wallMs) * 1000,
    cpuMicros: cpuMicros / asked.length,
    cpuTotalMs: cpuMicros / 1000,
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
  }
}

const cpuOf = async ({ url }: Server): Promise<number> =>
  Usage.parse(await (await fetch(`${url}/cpu`)).json()).micros

function exchange({ url }: Server, agent: Agent, { method, path, headers, body }: Asked) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(body.length) }
    const options = { agent, method, headers: { ...headers, ...length } }
    const outgoing = httpRequest(`${url}${path}`, options, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject)
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) }),
      )
    })
    outgoing.on('error', reject).end(body)
  })
}

async function authenticated(bench: Bench): Promise<Figure[]> {
  return withServer(bench, async (server) => {
    const peers = await Promise.all(Array.from({ length: clients }, () => new Client().open(server)))
    const asks = (count: number, body?: Buffer): Asked[] =>
      Array.from({ length: count }, (_, place) => peers[place % clients]!.ask(server, place, body))
    const body = Buffer.from(JSON.stringify({ text: 'x'.repeat(kib) }))
    const open = Array.from(
      { length: perRound },
      () => ({ method: 'GET', path: '/open', headers: {} }) as const,
    )
    await load(server, 'warm-up', [...asks(warmUp), ...asks(warmUp, body), ...open])
    const plain = await load(server, 'GET, nobody authenticated', open)
    const proved = []
    for (const [what, given] of [
      ['GET, request checked and answer proved', undefined],
      ['POST of 1 KB, the same', body],
    ] as const) {
      bench.note(what)
      const figure = await load(server, what, asks(perRound, given))
      const met = figure.cpuMicros <= targetMicros
      proved.push({ ...figure, target: { text: `≤ ${targetMicros} µs`, met, micros: targetMicros } })
    }
    const hands = Array.from({ length: handshakes }, () => {
      const headers = { 'content-type': 'application/json' }
      return { method: 'POST', path: '/.well-known/auth', headers, body: new Client().message } as const
    })
    return [plain, ...proved, await load(server, 'handshake with a stranger', hands)]
  })
}

export const authParts: readonly Part[] = [
  { name: 'auth', about: 'mutual authentication over HTTP (BRC-103, BRC-104)', run: authenticated },
]

if (process.argv[2] === 'serve' && process.argv[1] === fileURLToPath(import.meta.url)) await serve()
