/** The file-system view of records, deposits and withdrawals, for clients of BRC-103/104 (docs/protocol.md §7.6). */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { RequestType } from '../../contracts/api.ts'
import { DepositRequest, NamedWithdrawal } from '../../contracts/payment.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { formatPath, parsePath, type RecordPath, type SealedRecord } from '../../market/record.ts'
import { callerAddress } from '../rate.ts'
import { needTill } from '../requests/withdraw.ts'
import type { RequestObserver } from '../service.ts'
import * as acts from './acts.ts'
import type { WebAuth } from './auth.ts'
import { type Payable, refusePayment, takeApart, usedFor, whenPaid } from './paying.ts'

export interface FilesDeps extends acts.ActDeps {
  readonly auth: WebAuth
  readonly trustProxy: boolean
  /** Makes room for so many bytes of an answer. @throws ERR_BUSY */
  readonly makeRoom: (request: FastifyRequest, bytes: number) => void
  /** Told of what was carried out, as of the native requests that do the same. */
  readonly observer?: Pick<RequestObserver, 'request'> | undefined
}

const json = 'application/json; charset=utf-8'
/** Of a body that carries no record and no payment. */
const smallBodyBytes = 4096

/** A HEAD must not cost a pull. */
const plain = { exposeHeadRoute: false }
const small = { ...plain, bodyLimit: smallBodyBytes }

/** Routes of which every one wants to know who asks; for an app that has `auth`. */
export function addFiles(app: FastifyInstance, deps: FilesDeps): void {
  const { auth, observer } = deps
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    // The bytes were read when they were proved; nobody parses them twice.
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null, undefined))
    // Whoever is nobody need not be listened to.
    scope.addHook('preParsing', (request, _reply, payload, next) => {
      try {
        auth.requireIdentity(request)
      } catch (error) {
        return next(error as Error)
      }
      next(null, payload)
    })
    scope.addHook('onResponse', (request, reply, next) => {
      const type = sameAs[`${request.method} ${request.routeOptions.url}`]
      if (type !== undefined && reply.statusCode < 400)
        observer?.request(type, 'ok', reply.elapsedTime / 1000)
      next()
    })
    addRecords(scope, deps)
    addLists(scope, deps)
    addMoney(scope, deps)
    done()
  })
}

function addRecords(scope: FastifyInstance, deps: FilesDeps): void {
  scope.put(recordUrl, plain, async (request, reply) => {
    const path = pathOf(request)
    const visit = visitOf(deps, request)
    const { body, order } = payable(deps, { request, reply, path: formatPath(path) })
    let record: SealedRecord | undefined
    const admitted = () => {
      record ??= acts.admitRecord(deps, { path, body, visit })
      return record
    }
    const price = () => acts.priceOfWrite(deps, admitted())
    const text = await whenPaid({ ...order, price }, async () => acts.put(deps, admitted(), visit))
    return reply.type(json).send(`{"status":"success","reply":${text}}`)
  })
  scope.get(recordUrl, plain, async (request, reply) => {
    const path = pathOf(request)
    const visit = visitOf(deps, request)
    const { order } = payable(deps, { request, reply, path: formatPath(path) })
    const price = () => acts.priceOfRead(deps, path, visit)
    const text = await whenPaid({ ...order, price }, (taken) => acts.get(deps, path, { visit, taken }))
    return reply.type(json).send(text)
  })
  scope.delete(recordUrl, small, async (request, reply) => {
    const path = pathOf(request)
    refusePayment(request)
    if (path.owner !== visitOf(deps, request).from)
      throw new MarketError('ERR_FORBIDDEN', 'only its owner may delete a record')
    if (!deps.auth.isPathProved(request))
      throw new MarketError('ERR_FORBIDDEN', 'Authrite does not prove which record is meant')
    return success(reply, { receipt: await acts.remove(deps, path) })
  })
}

function addLists(scope: FastifyInstance, deps: FilesDeps): void {
  scope.get(outboxUrl, small, async (request, reply) => {
    refusePayment(request)
    const { owner, receiver } = pathOf(request, 'x')
    const visit = visitOf(deps, request)
    return success(reply, await acts.list(deps, request.query as Query, { of: { owner, receiver }, visit }))
  })
  scope.get('/inbox/', small, async (request, reply) => {
    refusePayment(request)
    return success(reply, await acts.list(deps, request.query as Query, { visit: visitOf(deps, request) }))
  })
}

function addMoney(scope: FastifyInstance, deps: FilesDeps): void {
  scope.post('/deposit', plain, async (request, reply) => {
    const till = needTill(deps.till)
    const { body, order } = payable(deps, { request, reply, path: '/deposit' })
    const price = () => parseBody(DepositRequest, body).satoshis
    const { txid, satoshis, pending } = await whenPaid({ ...order, price }, async (taken) => {
      if (taken !== undefined) return taken
      const extras = { satoshisRequired: price() }
      throw new MarketError('ERR_PAYMENT_REQUIRED', 'a deposit is paid by this very request', { extras })
    })
    const available = Math.max(0, till.creditOf(order.from).available)
    return success(reply, {
      txid,
      satoshis: String(satoshis),
      available: String(available),
      pending: String(pending),
    })
  })
  scope.post('/withdraw', small, async (request, reply) => {
    refusePayment(request)
    const till = needTill(deps.till)
    const { id, satoshis } = parseBody(NamedWithdrawal, bodyOf(deps, request))
    const owner = visitOf(deps, request).from
    const amount = satoshis === undefined ? {} : { satoshis }
    return success(reply, await till.withdraw({ owner, id, ...amount }).catch(neverAsking))
  })
}

const visitOf = ({ auth, trustProxy, makeRoom }: FilesDeps, request: FastifyRequest): acts.Visit => ({
  from: auth.requireIdentity(request),
  address: callerAddress(request.raw, trustProxy),
  makeRoom: (bytes) => makeRoom(request, bytes),
})

const bodyOf = ({ auth }: FilesDeps, request: FastifyRequest): Buffer => auth.bodyOf(request)! // its sender is known by it

/** What may be paid for: its body without the payment, and all that paying needs but the price. */
function payable(
  deps: FilesDeps,
  { request, reply, path }: { request: FastifyRequest; reply: FastifyReply; path: string },
): { body: Buffer; order: Omit<Payable, 'price'> } {
  const { body, payment } = takeApart(request, bodyOf(deps, request))
  const what = usedFor(request.method, path, body)
  const { from, address } = visitOf(deps, request)
  const caller = { address, now: deps.means.now() }
  const { till, service } = deps
  return { body, order: { till, from, payment, what, reply, gate: service.gate, caller } }
}

type Query = Record<string, string | string[]>
const outboxUrl = '/:owner/outbox/:receiver/'
const recordUrl = `${outboxUrl}:recordId`
const sameAs: Readonly<Record<string, RequestType>> = {
  [`PUT ${recordUrl}`]: 'store',
  [`GET ${recordUrl}`]: 'read',
  [`DELETE ${recordUrl}`]: 'delete',
  [`GET ${outboxUrl}`]: 'inventory',
  'GET /inbox/': 'inventory',
  'POST /withdraw': 'withdraw',
}

/** @throws ERR_MALFORMED */
function pathOf({ params }: FastifyRequest, recordId?: string): RecordPath {
  const given = { ...(params as RecordPath), ...(recordId !== undefined && { recordId }) } // names of the route
  return parsePath(formatPath(given))
}

/** @throws ERR_MALFORMED */
function parseBody<T>(schema: z.ZodType<T>, body: Buffer): T {
  let given: unknown
  try {
    given = JSON.parse(fromUtf8(body))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'the body is no JSON', { cause })
  }
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  throw new MarketError('ERR_MALFORMED', `the body: ${firstIssue(parsed.error)}`)
}

/** What is not there to be paid back is no reason to pay: clients answer 402 by a payment. */
function neverAsking(error: unknown): never {
  if (!(error instanceof MarketError) || error.code !== 'ERR_INSUFFICIENT_FUNDS') throw error
  throw new MarketError('ERR_CONFLICT', error.message, { extras: error.extras, cause: error })
}

const success = (reply: FastifyReply, fields: object): FastifyReply =>
  reply.type(json).send(JSON.stringify({ status: 'success', ...fields }))
