/** The operations as OpenAPI 3.1: schemas are JSON Schema, made of those that this program has. */
import { z } from 'zod'
import { codes } from '../../market/errors.ts'
import { boxCodes } from '../boxes/codes.ts'
import { software, version } from '../version.ts'
import type { Operation } from './operations.ts'

/** A refusal (docs/protocol.md §6, §13.6); facts of it stand beside these. */
const Refusal = z.looseObject({
  status: z.literal('error'),
  code: z.enum([...new Set([...Object.keys(codes), ...Object.keys(boxCodes)])]),
  description: z.string(),
})

const text = 'application/json'
const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return rest
}
const inJson = (schema: object) => ({ content: { [text]: { schema } } })

export function openapi(operations: readonly Operation[], url: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const operation of operations) {
    const { path, method } = operation
    paths[path] = { ...paths[path], [method]: described(operation) }
  }
  const brc104 = {
    ...{ type: 'apiKey', in: 'header', name: 'x-bsv-auth-identity-key' },
    description: 'mutual authentication, BRC-103 over BRC-104: AuthFetch of @bsv/sdk does all of it',
  }
  const info = {
    title: software,
    version,
    description: 'Message boxes, records, credit and adverts of a relay',
  }
  return {
    openapi: '3.1.0',
    info,
    servers: [{ url }],
    paths,
    components: { securitySchemes: { brc104 }, schemas: { Refusal: schemaOf(Refusal, 'input') } },
  }
}

function described({ path, tag, summary, query = [], body, answer, isOpen }: Operation): object {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: 'path', required: true }))
  const inQuery = query.map((name) => ({
    name: name.replace('!', ''),
    in: 'query',
    required: name.endsWith('!'),
  }))
  const parameters = [...inPath, ...inQuery].map((each) => ({ ...each, schema: { type: 'string' } }))
  return {
    tags: [tag],
    summary,
    security: isOpen ? [] : [{ brc104: [] }],
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: true, ...inJson(schemaOf(body, 'input')) } }),
    responses: {
      200: { description: 'done', ...inJson(schemaOf(answer, 'output')) },
      default: { description: 'refused', ...inJson({ $ref: '#/components/schemas/Refusal' }) },
    },
  }
}
