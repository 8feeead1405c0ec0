/** The file-system view: what a relay spends on checking a request, carrying it out, and proving its answer. */
import { randomBytes } from 'node:crypto'
import { Agent, type IncomingHttpHeaders, request as httpRequest } from 'node:http'
import { z } from 'zod'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { fromHex, toHex } from '../market/bytes.ts'
import { seal } from '../market/envelope.ts'
import { formatPath } from '../market/record.ts'
import { authProtocol } from '../relay/web/auth.ts'
import { requestDigest, requestFields, responseDigest, responseFields } from '../relay/web/preimage.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'
import { type RelayProcess, withRelay } from './relay-process.ts'

const targetMicros = 350
const concurrency = 16
const clients = 8
const kib = 1024
const warmUp = 2000
const perRound = 8000
/** Of one address in a minute a relay shakes 600. */
const handshakes = 500
/** One signature in this many is checked. */
const sampled = 50

const Opened = z.object({ initialNonce: z.string() })

interface Asking {
  readonly method?: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly body?: Buffer
}

interface Asked {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: Buffer
  /** What the answer must be, and proves it. */
  check?(answer: { status: number; headers: IncomingHttpHeaders; body: Buffer }): void
}

export class Client {
  readonly wallet = KeyWallet.random()
  readonly #peerNonce = randomBytes(48).toString('base64')
  #session = ''

  get message(): Buffer {
    const { identity } = this.wallet
    const fields = { messageType: 'initialRequest', identityKey: identity, initialNonce: this.#peerNonce }
    return Buffer.from(JSON.stringify({ version: '0.1', ...fields }))
  }

  async open({ url }: RelayProcess): Promise<this> {
    const response = await fetch(`${url}/.well-known/auth`, { method: 'POST', body: this.message })
    this.#session = Opened.parse(await response.json()).initialNonce
    return this
  }

  ask({ key }: RelayProcess, place: number, { method = 'GET', path, body }: Asking): Asked {
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

export async function load(
  server: RelayProcess,
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
  const cpuBefore = server.cpuMicros()
  const began = performance.now()
  await Promise.all(Array.from({ length: concurrency }, work))
  const wallMs = performance.now() - began
  const cpuMicros = server.cpuMicros() - cpuBefore
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

function exchange({ url }: RelayProcess, agent: Agent, { method, path, headers, body }: Asked) {
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
  return withRelay(bench, {}, async (relay) => {
    const peers = await Promise.all(Array.from({ length: clients }, () => new Client().open(relay)))
    const asks = (asking: readonly Asking[]) =>
      asking.map((one, place) => peers[place % clients]!.ask(relay, place, one))
    const look = (path: string, count = perRound) => Array.from({ length: count }, () => ({ path }))
    const open = Array.from(
      { length: perRound },
      () => ({ method: 'GET', path: '/health', headers: {} }) as const,
    )
    const puts = await Promise.all(Array.from({ length: perRound }, (_, place) => recordOf(peers, place)))
    const gets = puts.map(({ path }) => ({ path }))
    await load(relay, 'warm-up', [
      ...asks(look('/health', warmUp)),
      ...asks(look('/inbox/', warmUp)),
      ...open,
    ])
    const plain = await load(relay, 'GET, nobody authenticated', open)
    bench.note('requests that are proved')
    const target = (figure: Figure & { cpuMicros: number }) => {
      const met = figure.cpuMicros <= targetMicros
      return { ...figure, target: { text: `≤ ${targetMicros} µs`, met, micros: targetMicros } }
    }
    const proved = target(await load(relay, 'GET, request checked and answer proved', asks(look('/health'))))
    const listed = target(await load(relay, 'the same of an empty inbox', asks(look('/inbox/'))))
    bench.note('records as files')
    const written = await load(relay, 'PUT of a record of 1 KB', asks(puts))
    // Read by those they are for.
    const reads = gets.map((one, place) => peers[(place + 1) % clients]!.ask(relay, place, one))
    const read = await load(relay, 'GET of a record of 1 KB', reads)
    const hands = Array.from({ length: handshakes }, () => {
      const headers = { 'content-type': 'application/json' }
      return { method: 'POST', path: '/.well-known/auth', headers, body: new Client().message } as const
    })
    return [plain, proved, listed, written, read, await load(relay, 'handshake with a stranger', hands)]
  })
}

/** A record from the client that asks at this place to the next. */
async function recordOf(peers: readonly Client[], place: number) {
  const [from, to] = [peers[place % clients]!.wallet, peers[(place + 1) % clients]!.wallet.identity]
  const recordId = randomBytes(16).toString('hex')
  const content = randomBytes(kib).toString('base64')
  const facts = { type: 'write', recordId, ttl: 86_400, tag: 'bench', content, relays: [from.identity] }
  const { text } = await seal({ to, timestamp: Date.now(), request: facts }, from)
  const path = formatPath({ owner: from.identity, receiver: to, recordId })
  return { method: 'PUT', path, body: Buffer.from(text) } as const
}

export const authParts: readonly Part[] = [
  {
    name: 'auth',
    about: 'mutual authentication over HTTP (BRC-103, BRC-104), and records as files',
    run: authenticated,
  },
]
