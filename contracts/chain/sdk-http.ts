/** The http client that classes of the sdk are given: our bounds on their exchanges, and nothing unchecked in their answers. */
import type { HttpClient, HttpClientRequestOptions, HttpClientResponse } from '@bsv/sdk'
import type { z } from 'zod'
import { type HttpServer, parseJson } from './http.ts'

/**
 * @param schema of a successful answer
 * @param again whether a request is repeated once when the connection breaks
 */
export function sdkHttp(server: HttpServer, schema: z.ZodType, { again }: { again: boolean }): HttpClient {
  return {
    async request(
      url: string,
      { method, headers, data }: HttpClientRequestOptions,
    ): Promise<HttpClientResponse> {
      const answer = await server.ask({
        method: method === 'POST' ? 'POST' : 'GET',
        path: url.slice(server.shown.length),
        headers: headers ?? {},
        ...(data !== undefined && { body: JSON.stringify(data) }),
        again,
      })
      const { status } = answer
      const ok = status >= 200 && status < 300
      if (!ok) return { ok, status, statusText: '', data: safeJson(answer.body) }
      const parsed = schema.safeParse(parseJson(server, answer))
      if (!parsed.success) throw server.unavailable('answers in a form that is not expected')
      return { ok, status, statusText: '', data: parsed.data }
    },
  } as HttpClient // its answers are generic: what a caller calls them is what the schema has made sure
}

function safeJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    // A refusal in words, perhaps of a machine in between: its status is what counts.
    return {}
  }
}
