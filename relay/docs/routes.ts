/** `GET /openapi.json` and `GET /docs`: made once, at the first question. */
import type { FastifyInstance } from 'fastify'
import { openapi } from './openapi.ts'
import { type Has, operationsOf } from './operations.ts'
import { page } from './page.ts'

/** @param urlOf how clients reach this relay, known once it listens */
export function addDocs(app: FastifyInstance, has: Has, urlOf: () => string): void {
  let made: { json: string; html: string } | undefined
  const docs = () => {
    if (made !== undefined) return made
    const [operations, url] = [operationsOf(has), urlOf()]
    made = { json: JSON.stringify(openapi(operations, url)), html: page(operations, url) }
    return made
  }
  app.get('/openapi.json', (_request, reply) =>
    reply
      .header('access-control-allow-origin', '*')
      .type('application/json; charset=utf-8')
      .send(docs().json),
  )
  app.get('/docs', (_request, reply) =>
    reply
      .header(
        'content-security-policy',
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      )
      .header('x-content-type-options', 'nosniff')
      .type('text/html; charset=utf-8')
      .send(docs().html),
  )
}
