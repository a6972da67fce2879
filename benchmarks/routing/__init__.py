"""Does routing by prefix raise the cache's hit rate?"""
