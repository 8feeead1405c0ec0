/** The file-system view of records, deposits and withdrawals, for clients of BRC-103/104 (docs/protocol.md §7.6). */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { RequestType } from '../../contracts/api.ts'
import { DepositRequest } from '../../contracts/payment.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { formatPath, parsePath, type RecordPath, type SealedRecord } from '../../market/record.ts'
import { Hash, mostSatoshi, Satoshis } from '../../market/units.ts'
import { callerAddress } from '../rate.ts'
import type { RequestObserver } from '../service.ts'
import type { Till } from '../till/till.ts'
import * as acts from './acts.ts'
import type { WebAuth } from './auth.ts'
import { findPayment, type Payable, refusePayment, usedFor, whenPaid } from './paying.ts'

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

const Deposit = DepositRequest.refine(
  ({ satoshis }) => satoshis <= mostSatoshi,
  'there are not so many coins',
)
const WithdrawOrder = z.strictObject({ id: Hash, satoshis: Satoshis.optional() })

/** Routes of which every one wants to know who asks; for an app that has `auth`. */
export function addFiles(app: FastifyInstance, deps: FilesDeps): void {
  const { auth, till, trustProxy } = deps
  const visitOf = (request: FastifyRequest): acts.Visit => ({
    from: auth.requireIdentity(request),
    address: callerAddress(request.raw, trustProxy),
    makeRoom: (bytes) => deps.makeRoom(request, bytes),
  })
  const bodyOf = (request: FastifyRequest): Buffer => auth.bodyOf(request)! // its sender is known by it
  /** What may be paid for: its body without the payment, and all that paying needs but the price. */
  const payable = (request: FastifyRequest, reply: FastifyReply, path: string) => {
    const { body, payment } = findPayment(request, bodyOf(request))
    const what = usedFor(request.method, path, body)
    return { body, order: { till, from: auth.requireIdentity(request), payment, what, reply } }
  }
  const pay = <T>(
    order: Omit<Payable, 'price'>,
    price: () => number,
    act: Parameters<typeof whenPaid<T>>[1],
  ) => whenPaid({ ...order, price }, act)

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
        deps.observer?.request(type, 'ok', reply.elapsedTime / 1000)
      next()
    })
    // A HEAD must not cost a pull.
    const plain = { exposeHeadRoute: false }
    const small = { ...plain, bodyLimit: smallBodyBytes }

    scope.put(recordUrl, plain, async (request, reply) => {
      const path = pathOf(request)
      const visit = visitOf(request)
      const { body, order } = payable(request, reply, formatPath(path))
      let record: SealedRecord | undefined
      const admitted = () => {
        record ??= acts.admitRecord(deps, { path, body, visit })
        return record
      }
      const price = () => acts.priceOfWrite(deps, admitted())
      const text = await pay(order, price, async () => acts.put(deps, admitted(), visit))
      return reply.type(json).send(`{"status":"success","reply":${text}}`)
    })
    scope.get(recordUrl, plain, async (request, reply) => {
      const path = pathOf(request)
      const visit = visitOf(request)
      const { order } = payable(request, reply, formatPath(path))
      const price = () => acts.priceOfRead(deps, path, visit)
      const text = await pay(order, price, (taken) => acts.get(deps, path, { visit, taken }))
      return reply.type(json).send(text)
    })
    scope.delete(recordUrl, small, async (request, reply) => {
      const path = pathOf(request)
      refusePayment(request)
      if (path.owner !== visitOf(request).from)
        throw new MarketError('ERR_FORBIDDEN', 'only its owner may delete a record')
      if (!auth.isPathProved(request))
        throw new MarketError('ERR_FORBIDDEN', 'Authrite does not prove which record is meant')
      return success(reply, { receipt: await acts.remove(deps, path) })
    })
    scope.get(outboxUrl, small, async (request, reply) => {
      refusePayment(request)
      const { owner, receiver } = pathOf(request, 'x')
      const query = request.query as Query
      return success(
        reply,
        await acts.list(deps, query, { of: { owner, receiver }, visit: visitOf(request) }),
      )
    })
    scope.get('/inbox/', small, async (request, reply) => {
      refusePayment(request)
      return success(reply, await acts.list(deps, request.query as Query, { visit: visitOf(request) }))
    })
    scope.post('/deposit', plain, async (request, reply) => {
      const shop = open(till)
      const { body, order } = payable(request, reply, '/deposit')
      const price = () => parseBody(Deposit, body).satoshis
      const taken = await pay(order, price, async (paid) => {
        if (paid !== undefined) return paid
        const extras = { satoshisRequired: price() }
        throw new MarketError('ERR_PAYMENT_REQUIRED', 'a deposit is paid by this very request', { extras })
      })
      const { txid, satoshis: paid, pending } = taken
      const available = Math.max(0, shop.creditOf(order.from).available)
      return success(reply, {
        txid,
        satoshis: String(paid),
        available: String(available),
        pending: String(pending),
      })
    })
    scope.post('/withdraw', small, async (request, reply) => {
      refusePayment(request)
      const shop = open(till)
      const { id, satoshis } = parseBody(WithdrawOrder, bodyOf(request))
      const owner = visitOf(request).from
      const amount = satoshis === undefined ? {} : { satoshis: BigInt(satoshis) }
      return success(reply, await shop.withdraw({ owner, id, ...amount }).catch(neverAsking))
    })
    done()
  })
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

/** @throws ERR_FORBIDDEN */
function open(till: Till | undefined): Till {
  if (till !== undefined) return till
  throw new MarketError('ERR_FORBIDDEN', 'this relay has no wallet: it takes and pays back no coins')
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
