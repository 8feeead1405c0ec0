/** `/submit`, `/lookup` and what is hosted, as hosts of overlays serve them (docs/protocol.md §12.7). Anybody may ask. */
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { makeBeefOf, type Member, parseBeef } from '../../contracts/transaction/beef.ts'
import { compactSize, Reader } from '../../contracts/transaction/transaction.ts'
import { concat, fromHex, fromUtf8 } from '../../market/bytes.ts'
import { type Code, codes, MarketError } from '../../market/errors.ts'
import { callerAddress, RateLimiter } from '../rate.ts'
import { type Overlay, overlayLimits, type Submission } from './overlay.ts'

export interface OverlayDeps {
  /** Told of what is refused. */
  readonly onRefusal?: ((code: Code) => void) | undefined
  readonly overlay: Overlay
  readonly now: () => number
  readonly trustProxy: boolean
  /** Makes room for so many bytes of an answer. @throws ERR_BUSY */
  readonly makeRoom: (request: FastifyRequest, bytes: number) => void
}

const routeLimits = {
  /** Of one network address, in a minute. */
  submissions: 30,
  questions: 240,
  questionBytes: 4096,
} as const

const json = 'application/json; charset=utf-8'
/** BRC-87. */
const Name = z.string().regex(/^tm_(?=.{1,47}$)[a-z]+(?:_[a-z]+)*$/)
const Topics = z.array(Name).min(1).max(overlayLimits.topics)
const Question = z.object({ service: z.string().max(50), query: z.unknown() })

export function addOverlay(app: FastifyInstance, deps: OverlayDeps): void {
  const { overlay, now, trustProxy, makeRoom } = deps
  const perMinute = (most: number) => {
    const rate = new RateLimiter(most)
    // Not asynchronous: the body would flow away meanwhile.
    return ({ raw }: FastifyRequest, _reply: FastifyReply, next: (error?: Error) => void) => {
      const [address, time] = [callerAddress(raw, trustProxy), now()]
      try {
        rate.check(address, time)
      } catch (error) {
        return next(error as Error)
      }
      rate.count(address, time)
      next()
    }
  }
  app.register((scope, _options, done) => {
    scope.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, parsed) =>
      parsed(null, body),
    )
    scope.addHook('onRequest', (_request, reply, next) => {
      reply.header('access-control-allow-origin', '*')
      next()
    })
    scope.setErrorHandler((error, request, reply) => {
      const refused = asMarketError(error)
      if (refused.code === 'ERR_INTERNAL') request.log.error({ err: error }, 'the overlay failed')
      deps.onRefusal?.(refused.code)
      return refuse(refused, reply)
    })
    const submitting = {
      bodyLimit: 2 * overlayLimits.beefBytes,
      onRequest: perMinute(routeLimits.submissions),
    }
    scope.post('/submit', submitting, async (request, reply) => {
      const steak = await overlay.submit(submissionIn(request))
      return reply.type(json).send(JSON.stringify(steak))
    })
    const asking = { bodyLimit: routeLimits.questionBytes, onRequest: perMinute(routeLimits.questions) }
    scope.post('/lookup', asking, async (request, reply) => {
      const { outputs, ...rest } = await overlay.lookup(questionIn(request))
      // As JSON a byte takes four, in memory eight.
      makeRoom(
        request,
        outputs.reduce((sum, { beef }) => sum + 12 * beef.length, 0),
      )
      if (request.headers['x-aggregation'] !== 'yes')
        return reply.type(json).send(JSON.stringify({ ...rest, outputs }))
      return reply.type('application/octet-stream').send(Buffer.from(await aggregated(outputs)))
    })
    addDescriptions(scope, overlay, perMinute(routeLimits.questions))
    done()
  })
}

function addDescriptions(scope: FastifyInstance, overlay: Overlay, onRequest: onRequestHookHandler): void {
  const options = { onRequest }
  scope.get('/listTopicManagers', options, async (_request, reply) =>
    reply.type(json).send(JSON.stringify(await (await overlay.engine()).listTopicManagers())),
  )
  scope.get('/listLookupServiceProviders', options, async (_request, reply) =>
    reply.type(json).send(JSON.stringify(await (await overlay.engine()).listLookupServiceProviders())),
  )
  scope.get('/getDocumentationForTopicManager', options, async ({ query }, reply) => {
    const { managers } = await overlay.engine()
    return reply.type('text/markdown').send(await documentation(managers, (query as Query).manager))
  })
  scope.get('/getDocumentationForLookupServiceProvider', options, async ({ query }, reply) => {
    const { lookupServices } = await overlay.engine()
    return reply
      .type('text/markdown')
      .send(await documentation(lookupServices, (query as Query).lookupService))
  })
}

type Query = Readonly<Record<string, unknown>>
type Documented = Readonly<Record<string, { getDocumentation(): Promise<string> }>>

/** @throws ERR_NOT_FOUND */
async function documentation(of: Documented, name: unknown): Promise<string> {
  const found = typeof name === 'string' && Object.hasOwn(of, name) ? of[name] : undefined
  if (found === undefined) throw new MarketError('ERR_NOT_FOUND', 'nothing of this name is hosted here')
  return found.getDocumentation()
}

/** @throws ERR_MALFORMED, ERR_TOO_LARGE */
function submissionIn({ headers, body }: FastifyRequest): Submission {
  const topics = Topics.safeParse(parsedJson(String(headers['x-topics'] ?? '')))
  if (!topics.success)
    throw new MarketError(
      'ERR_MALFORMED',
      `x-topics is a JSON array of at most ${overlayLimits.topics} names`,
    )
  if (!(body instanceof Buffer) || headers['content-type'] !== 'application/octet-stream')
    throw new MarketError('ERR_MALFORMED', 'the body is a BEEF, application/octet-stream')
  const { beef, offChainValues } =
    headers['x-includes-off-chain-values'] === 'true' ? split(body) : { beef: body }
  if (beef.length > overlayLimits.beefBytes)
    throw new MarketError('ERR_TOO_LARGE', `a BEEF has at most ${overlayLimits.beefBytes} bytes here`)
  return { beef, topics: topics.data, offChainValues }
}

function split(body: Buffer): { beef: Uint8Array; offChainValues: Uint8Array } {
  const reader = new Reader(body)
  return { beef: reader.varBytes(), offChainValues: body.subarray(reader.at) }
}

/** @throws ERR_MALFORMED */
function questionIn({ body }: FastifyRequest): { service: string; query: unknown } {
  const asked = Question.safeParse(body instanceof Buffer ? parsedJson(fromUtf8(body)) : undefined)
  if (asked.success) return { service: asked.data.service, query: asked.data.query }
  throw new MarketError('ERR_MALFORMED', 'a question is {service, query}')
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

interface Found {
  readonly beef: number[]
  readonly outputIndex: number
  readonly context?: number[]
}

/** Outpoints, each with its context, then one BEEF of all their transactions. */
async function aggregated(outputs: readonly Found[]): Promise<Uint8Array> {
  const members = new Map<string, Member>()
  const parts: Uint8Array[] = [compactSize(outputs.length)]
  const subjects: string[] = []
  for (const { beef: bytes, outputIndex, context = [] } of outputs) {
    const beef = parseBeef(Uint8Array.from(bytes))
    // Once proven is enough: another may have it with its ancestors only.
    for (const member of beef.members.values())
      if (members.get(member.txid)?.path === undefined) members.set(member.txid, member)
    subjects.push(beef.subject.txid)
    parts.push(fromHex(beef.subject.txid), compactSize(outputIndex))
    parts.push(compactSize(context.length), Uint8Array.from(context))
  }
  return concat(...parts, await makeBeefOf(subjects, (txid) => members.get(txid)))
}

function asMarketError(error: unknown): MarketError {
  if (error instanceof MarketError) return error
  const { statusCode = 500 } = error as { statusCode?: number }
  if (statusCode === 413) return new MarketError('ERR_TOO_LARGE', 'the body is too large')
  if (statusCode < 500) return new MarketError('ERR_MALFORMED', 'the request cannot be read')
  return new MarketError('ERR_INTERNAL', 'the overlay failed to carry this out', { cause: error })
}

function refuse({ code, message, extras }: MarketError, reply: FastifyReply): FastifyReply {
  if (extras.retryAfterMs !== undefined)
    reply.header('retry-after', Math.ceil(Number(extras.retryAfterMs) / 1000))
  const body = { status: 'error', code, message, description: message, ...extras }
  return reply.status(codes[code].status).type(json).send(JSON.stringify(body))
}
