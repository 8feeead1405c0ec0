/** Message boxes over HTTP (BRC-33 and its dialects; docs/protocol.md §13), for clients of BRC-103/104. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { codes, MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { addAuthorizing, type Authorizing } from '../phip/authorize.ts'
import { addPropagation, type Receiving } from '../phip/propagate.ts'
import { callerAddress } from '../rate.ts'
import { UsageError } from '../operator/usage.ts'
import type { Service } from '../service.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import type { Till } from '../till/till.ts'
import type { WebAuth } from '../web/auth.ts'
import { refusePayment, takeApart, usedFor } from '../web/paying.ts'
import { BoxError, failures } from './codes.ts'
import type { Federation } from './departing.ts'
import { boxField, fieldLimits, idField, numberField, parseFields } from './fields.ts'
import { acknowledge, FreeListings, listBox, listLimits } from './list.ts'
import type { Boxes } from './options.ts'
import { BoxPayments } from './payment.ts'
import * as permissions from './permissions.ts'
import { proofOf } from './proof.ts'
import { boxLife } from './price.ts'
import { checkDelivery, sendMessage, type SendParts } from './send.ts'
import { parseSend } from './sending.ts'
import type { BoxTraffic } from './traffic.ts'

export interface BoxesDeps {
  readonly boxes: Boxes
  readonly boxTraffic: BoxTraffic
  readonly auth: WebAuth
  readonly means: HandlerDeps
  readonly service: Pick<Service, 'gate'>
  /** Without one nothing can be paid for here. */
  readonly till: Till | undefined
  readonly trustProxy: boolean
  readonly federation?: Federation | undefined
  /** What hosts bring is taken; absent where nothing is. */
  readonly receiving?: Receiving | undefined
  /** Absent where this relay says nothing of those it takes messages for. */
  readonly authorizing?: Authorizing | undefined
  /** Makes room for so many bytes of an answer. @throws ERR_BUSY */
  readonly makeRoom: (request: FastifyRequest, bytes: number) => void
}

const json = 'application/json; charset=utf-8'
/** Of a body that carries no message: a thousand message ids of the longest kind are less. */
const small = { bodyLimit: 512 << 10, exposeHeadRoute: false }

/** Routes of which every one wants to know who asks. @throws UsageError for a fee that nobody could pay */
export function addBoxes(app: FastifyInstance, deps: BoxesDeps): void {
  const { boxes, boxTraffic, auth, till, means } = deps
  if (!boxes.isServed) return
  if (till === undefined && Object.values(boxes.fees).some((fee) => fee > 0))
    throw new UsageError('--box-fee needs a wallet: name a --chain')
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    // The bytes were read when they were proved; nobody parses them twice.
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null, undefined))
    scope.addHook('preParsing', (request, _reply, payload, next) => {
      try {
        boxTraffic.admit(auth.requireIdentity(request), means.now())
      } catch (error) {
        return next(error as Error)
      }
      next(null, payload)
    })
    scope.addHook('onResponse', (request, reply, next) => {
      if (reply.statusCode < 400) boxTraffic.count(request.routeOptions.url ?? '', 'ok')
      next()
    })
    scope.setErrorHandler((error, request, reply) => {
      const url = request.routeOptions.url ?? ''
      const told = toldOf(error, url)
      const isKnown = told instanceof BoxError || told instanceof MarketError
      boxTraffic.count(url, isKnown ? told.code : 'ERR_INTERNAL')
      if (!(told instanceof BoxError)) throw told
      const { code, message, extras, status } = told
      return reply
        .status(status)
        .type(json)
        .send(JSON.stringify({ status: 'error', code, description: message, ...extras }))
    })
    const parts = partsOf(deps)
    addMessages(scope, deps, parts)
    addPermissions(scope, deps, parts)
    addDevices(scope, deps)
    const { receiving, authorizing } = deps
    if (receiving !== undefined) addPropagation(scope, { ...deps, receiving }, parts)
    if (authorizing !== undefined) addAuthorizing(scope, { ...deps, authorizing })
    done()
  })
}

/** A failure and a body that is too large, in the codes that clients of this route know. */
function toldOf(error: unknown, url: string): unknown {
  if (!(error instanceof MarketError)) return error
  if (error.code === 'ERR_TOO_LARGE' && url === '/sendMessage')
    return new BoxError('ERR_MESSAGE_BODY_TOO_LARGE', error.message, error.extras, error)
  const code = failures[url]
  if (codes[error.code].status !== 500 || code === undefined) return error
  return new BoxError(code, 'the relay failed to carry this out', {}, error)
}

/** What messages are sent with, by whatever way they come. */
export function partsOf({
  boxes,
  means,
  till,
  federation,
}: Pick<BoxesDeps, 'boxes' | 'means' | 'till' | 'federation'>): SendParts {
  const rules = {
    fees: boxes.fees,
    isOpen: boxes.isOpen,
    hasTill: till !== undefined,
    accounts: means.accounts,
  }
  const payments = new BoxPayments({ store: means.store, till, admit: means.admitWrite })
  return { means, rules, till, payments, federation }
}

function addMessages(scope: FastifyInstance, deps: BoxesDeps, parts: SendParts): void {
  const { auth, means, service, till, trustProxy, makeRoom } = deps
  const free = new FreeListings(means.limits.boxListedBytesPerDay)
  scope.post('/sendMessage', { exposeHeadRoute: false }, async (request, reply) => {
    const from = auth.requireIdentity(request)
    const { body, payment } = takeApart(request, auth.bodyOf(request)!) // its sender is known by it
    const asked = parseSend(body, means.limits)
    const address = callerAddress(request.raw, trustProxy)
    const caller = { address, now: means.now() }
    const what = payment === undefined ? '' : usedFor('POST', '/sendMessage', body)
    const order = { till, from, payment, what, reply, gate: service.gate, caller }
    const { proof, signed } = proofOf(auth.signedBy(request))
    const results = await sendMessage(parts, { request: asked, from, address, proof, signed, order })
    const [first] = results
    const taken = results.filter(({ delivery }) => delivery !== 'refused').length
    const all = `${taken < results.length ? `${taken} of ` : ''}${results.length} recipients`
    const whom = results.length === 1 ? first?.recipient : all
    const message = `Your message has been sent to ${whom}`
    return success(reply, { messageId: first?.messageId, message, results })
  })
  scope.post('/listMessages', small, async (request, reply) => {
    refusePayment(request)
    const recipient = auth.requireIdentity(request)
    const given = parseFields(auth.bodyOf(request)!, 'ERR_MESSAGEBOX_REQUIRED')
    if (given.messageBox === undefined || given.messageBox === null || given.messageBox === '')
      throw new BoxError('ERR_MESSAGEBOX_REQUIRED', 'messageBox is needed')
    const box = boxField(given.messageBox, 'ERR_INVALID_MESSAGEBOX')
    const page = { code: 'ERR_INVALID_LIMIT' as const, least: 1, most: listLimits.page }
    const limit = numberField(given.limit, { ...page, fallback: listLimits.page })
    const from = { code: 'ERR_INVALID_OFFSET' as const, least: 0, most: listLimits.offset, fallback: 0 }
    const offset = numberField(given.offset, from)
    const room = { makeRoom: (bytes: number) => makeRoom(request, bytes), free }
    const { messages, ...rest } = await listBox(means, { recipient, box, limit, offset }, room)
    const facts = JSON.stringify({ ...rest, limit, offset }).slice(1)
    return reply.type(json).send(`{"status":"success","messages":[${messages.join()}],${facts}`)
  })
  scope.post('/acknowledgeMessage', small, async (request, reply) => {
    refusePayment(request)
    const recipient = auth.requireIdentity(request)
    const { messageIds } = parseFields(auth.bodyOf(request)!, 'ERR_MESSAGE_ID_REQUIRED')
    if (
      messageIds === undefined ||
      messageIds === null ||
      (Array.isArray(messageIds) && messageIds.length === 0)
    )
      throw new BoxError('ERR_MESSAGE_ID_REQUIRED', 'messageIds are needed')
    if (!Array.isArray(messageIds)) throw new BoxError('ERR_INVALID_MESSAGE_ID', 'messageIds are a list')
    if (messageIds.length > fieldLimits.acknowledged)
      throw new BoxError('ERR_INVALID_ACKNOWLEDGMENT', `at most ${fieldLimits.acknowledged} ids at once`, {
        limit: fieldLimits.acknowledged,
      })
    const ids = messageIds.map((id) => idField(id, 'ERR_INVALID_MESSAGE_ID'))
    return success(reply, { acknowledged: await acknowledge(means, recipient, [...new Set(ids)]) })
  })
}

function addPermissions(scope: FastifyInstance, deps: BoxesDeps, parts: SendParts): void {
  const { auth, means, till, trustProxy } = deps
  scope.post('/permissions/set', small, async (request, reply) => {
    refusePayment(request)
    const recipient = auth.requireIdentity(request)
    const given = parseFields(auth.bodyOf(request)!, 'ERR_INVALID_REQUEST')
    const isStranger = isStrangerHere(deps, recipient)
    return success(reply, {
      description: await permissions.setPermission(means, recipient, { given, isStranger }),
    })
  })
  scope.get('/permissions/get', small, async (request, reply) => {
    const permission = permissions.getPermission(means, auth.requireIdentity(request), queryOf(request))
    return success(reply, { permission })
  })
  scope.get('/permissions/list', small, async (request, reply) =>
    success(reply, await permissions.listPermissions(means, auth.requireIdentity(request), queryOf(request))),
  )
  scope.get('/permissions/quote', small, async (request, reply) => {
    const sender = auth.requireIdentity(request)
    const fields = permissions.quoteFields(means, queryOf(request))
    const { answer, allowed, totals } = permissions.quote(means, parts.rules, { sender, ...fields })
    const isPayable = totals.totalForPayableRecipients > 0
    // Whoever is told a price pays it, and only then brings the message.
    if (isPayable && till === undefined)
      throw new BoxError('ERR_PAYMENT_UNAVAILABLE', 'this relay has no wallet: it takes no payments')
    const { box } = fields
    const address = callerAddress(request.raw, trustProxy)
    if (allowed.length > 0) await checkDelivery(parts, { from: sender, address, box, recipients: allowed })
    const { boxBodyBytes: bodyBytes, bodyBytes: requestBytes, boxRecipients: recipients } = means.limits
    const limits = { bodyBytes, requestBytes, recipients, ttl: boxLife.ttlMs / 1000 }
    return success(reply, { description: 'Message delivery quote', ...answer, limits })
  })
}

function addDevices(scope: FastifyInstance, deps: BoxesDeps): void {
  const { auth, means } = deps
  scope.post('/registerDevice', small, async (request, reply) => {
    refusePayment(request)
    const identity = auth.requireIdentity(request)
    const given = parseFields(auth.bodyOf(request)!, 'ERR_INVALID_FCM_TOKEN')
    const isStranger = isStrangerHere(deps, identity)
    const deviceId = await permissions.registerDevice(means, identity, { given, isStranger })
    return success(reply, { message: 'Device registered for push notifications', deviceId })
  })
  scope.get('/devices', small, async (request, reply) =>
    success(reply, { devices: permissions.listDevices(means, auth.requireIdentity(request)) }),
  )
}

const isStrangerHere = ({ means }: BoxesDeps, identity: Key): boolean =>
  !means.accounts.isAllowed(identity) && !means.accounts.has(identity)

const queryOf = ({ query }: FastifyRequest) => query as permissions.Query

const success = (reply: FastifyReply, fields: object): FastifyReply =>
  reply.type(json).send(JSON.stringify({ status: 'success', ...fields }))
