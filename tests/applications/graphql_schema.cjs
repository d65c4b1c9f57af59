// A query that says a number again, and a subscription that counts.
const { GraphQLInt, GraphQLNonNull, GraphQLObjectType, GraphQLSchema } = require('graphql');

const number = { type: new GraphQLNonNull(GraphQLInt) };
const echo = { ...number, args: { number }, resolve: (_, given) => given.number };

async function* count() {
  for (let counted = 1; ; counted += 1) {
    yield { counted };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

exports.schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { echo } }),
  mutation: new GraphQLObjectType({ name: 'Mutation', fields: { echo } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: { counted: { ...number, subscribe: count } },
  }),
});
