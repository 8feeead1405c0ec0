/** A devnet on a socket: JSON-RPC by POST, as a node serves it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { timingSafeEqual } from 'node:crypto'
import { sha256 } from '../../../market/hash.ts'
import { transactionBytes } from '../../transaction/transaction.ts'
import { Faults } from './faults.ts'
import type { DevnetNode } from './node.ts'
import { rpcCodes } from '../rpc-error.ts'
import { answer, type Outcome } from './rpc.ts'

export interface DevnetServerOptions {
  readonly host: string
  /** 0 for any that is free. */
  readonly port: number
  readonly node: DevnetNode
  /** Both or none: without, everyone is heard. */
  readonly user?: string
  readonly password?: string
  /** Between blocks that are mined by themselves; without it, only on demand. */
  readonly blockEveryMs?: number
  /** Hears why a block was not mined by itself: a disk that is full, for example. */
  readonly onError?: (error: unknown) => void
}

export interface DevnetServer {
  /** Without user and password. */
  readonly url: string
  /** Closes the socket and stops the timer; the node stays open. */
  close(): Promise<void>
}

const limits = {
  /** A transaction in hex, and a little around it. */
  bodyBytes: 2 * transactionBytes + (64 << 10),
  connections: 1000,
  headersMs: 10_000,
  requestMs: 60_000,
  /** Longer than callers keep a connection they do not use, so that none is closed under a call. */
  idleMs: 120_000,
} as const
const greeting = 'This is a devnet: a simulated chain for tests. Its coins are worth nothing.\n'

export async function serveDevnet(options: DevnetServerOptions): Promise<DevnetServer> {
  const { host, port, node, blockEveryMs, onError = () => undefined } = options
  const faults = new Faults()
  const isAllowed = gate(options)
  const server = createServer(
    { headersTimeout: limits.headersMs, requestTimeout: limits.requestMs, keepAliveTimeout: limits.idleMs },
    (request, response) => {
      // Whatever goes wrong with one connection ends that connection.
      void serve(request, response, { isAllowed, ask: (body) => answer(node, faults, body) }).catch(() =>
        request.socket.destroy(),
      )
    },
  )
  server.maxConnections = limits.connections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, host, () => resolve())
  })
  const stop = blockEveryMs === undefined ? () => undefined : mineEvery(node, blockEveryMs, onError)
  const { address, port: bound, family } = server.address() as AddressInfo // it listens on a port
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    close: async () => {
      stop()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  {
    isAllowed,
    ask,
  }: { isAllowed: (header: string | undefined) => boolean; ask: (body: string) => Promise<Outcome> },
): Promise<void> {
  if (request.method === 'GET') return end(response, 200, greeting)
  if (request.method !== 'POST') return end(response, 405, 'JSONRPC server handles only POST requests\n')
  if (!isAllowed(request.headers.authorization)) {
    response.setHeader('www-authenticate', 'Basic realm="jsonrpc"')
    return end(response, 401, '')
  }
  const body = await bodyOf(request)
  if (body === undefined) {
    response.setHeader('connection', 'close')
    return end(response, 413, 'the request is too large\n')
  }
  const outcome = await ask(body)
  if (outcome === undefined) {
    request.socket.destroy()
    return
  }
  response.setHeader('content-type', 'application/json')
  end(response, statusOf(outcome), `${JSON.stringify(outcome)}\n`)
}

/** The body of a request; undefined as soon as it is too large: the rest is not read. */
function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = []
  let bytes = 0
  return new Promise((resolve, reject) => {
    request.on('data', (part: Buffer) => {
      bytes += part.length
      if (bytes <= limits.bodyBytes) {
        parts.push(part)
        return
      }
      request.pause()
      resolve(undefined)
    })
    request.once('end', () => resolve(Buffer.concat(parts).toString('utf8')))
    request.once('error', reject)
    request.once('close', () => reject(new Error('the connection was closed'))) // means nothing behind an end
  })
}

/** As a node: an error is a status too, except in a batch. */
function statusOf(outcome: NonNullable<Outcome>): number {
  if (!('error' in outcome) || outcome.error === null) return 200
  if (outcome.error.code === rpcCodes.invalidRequest) return 400
  return outcome.error.code === rpcCodes.methodNotFound ? 404 : 500
}

function end(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  response.end(text)
}

function gate({ user, password }: DevnetServerOptions): (header: string | undefined) => boolean {
  if (user === undefined && password === undefined) return () => true
  const expected = sha256(`Basic ${Buffer.from(`${user ?? ''}:${password ?? ''}`).toString('base64')}`)
  return (header) => timingSafeEqual(sha256(header ?? ''), expected)
}

/** Starts no block before the last one is there. @returns what ends it */
function mineEvery(node: DevnetNode, ms: number, onError: (error: unknown) => void): () => void {
  let isMining = false
  const timer = setInterval(() => {
    if (isMining) return
    isMining = true
    // A block that could not be mined is tried again with the next tick.
    void node
      .mine(1)
      .catch(onError)
      .finally(() => {
        isMining = false
      })
  }, ms)
  return () => clearInterval(timer)
}
