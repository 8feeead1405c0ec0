/** The board over HTTP (docs/protocol.md §12.5). */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Cursor } from '../../contracts/api.ts'
import { AdvertNetwork, advertLimits } from '../../market/advert.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { boardLimits } from '../../market/channels/board.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { callerAddress, RateLimiter } from '../rate.ts'
import type { Board } from './board.ts'

const routeLimits = {
  /** Of one network address. */
  postsPerMinute: 120,
  pagesPerMinute: 600,
  defaultPage: 100,
} as const

const Query = z.strictObject({
  cursor: Cursor.optional(),
  limit: z.coerce.number().int().min(1).max(boardLimits.page).default(routeLimits.defaultPage),
  network: AdvertNetwork.optional(),
})

export interface BoardRoutes {
  readonly board: Board
  readonly now: () => number
  readonly trustProxy: boolean
  /** @throws when so many bytes are not to be written now */
  readonly admitWrite: (bytes: number) => void
  /** Makes room for so many bytes of an answer. @throws ERR_BUSY */
  readonly makeRoom: (request: FastifyRequest, bytes: number) => void
}

export function addBoard(
  app: FastifyInstance,
  { board, now, trustProxy, admitWrite, makeRoom }: BoardRoutes,
): void {
  const posts = new RateLimiter(routeLimits.postsPerMinute)
  const pages = new RateLimiter(routeLimits.pagesPerMinute)

  app.post('/adverts', { bodyLimit: advertLimits.textBytes }, async (request, reply) => {
    const address = callerAddress(request.raw, trustProxy)
    posts.check(address, now())
    posts.count(address, now())
    const body = request.body as Buffer | undefined // the only parser gives a Buffer
    if (body === undefined) throw new MarketError('ERR_MALFORMED', 'an empty body')
    admitWrite(body.length)
    const outcome = await board.offer(fromUtf8(body))
    return answer(reply, JSON.stringify({ status: 'success', outcome }))
  })

  app.get('/adverts', async (request, reply) => {
    const address = callerAddress(request.raw, trustProxy)
    pages.check(address, now())
    pages.count(address, now())
    const query = Query.safeParse(request.query)
    if (!query.success) throw new MarketError('ERR_MALFORMED', firstIssue(query.error))
    const page = board.page(query.data)
    // Readers may be slow, and many.
    makeRoom(request, page.length)
    return answer(reply, page)
  })
}

/** Pages of any origin may ask: adverts are for everybody. */
const answer = (reply: FastifyReply, text: string): FastifyReply =>
  reply
    .header('access-control-allow-origin', '*')
    .type('application/json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(text)
