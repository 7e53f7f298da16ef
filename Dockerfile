# The example services, ready to run. By default the till, all in one process:
#
#   docker build -t spillway-examples .
#   docker run --rm -p 3000:3000 spillway-examples
#   docker run --rm -p 3000:3000 spillway-examples node build/examples/seckill/main.js
#
# `docker compose --profile pos up --build pos` runs four of them on a Redis Cluster, behind HAProxy.
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run -s build:fast \
  && node build/keep-runtime.js \
    build/examples/pos/main.js build/examples/pos/upstream.js build/examples/seckill/main.js build/examples/seckill/rush.js \
    build/examples/ticket/main.js build/examples/ticket/client.js \
  && npm prune --omit=dev --no-audit --no-fund

FROM ${NODE_IMAGE}
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/build build
COPY --from=build /app/examples examples
# The embedded flash sale writes its database here. The number is that of the user `node` in the base image.
RUN mkdir data && chown 1000:1000 data
USER 1000:1000
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "build/examples/pos/main.js"]
